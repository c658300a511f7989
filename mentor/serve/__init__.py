"""The mentor as a service that devices ask: `python -m mentor.serve bundle=… mentor=…` (extra `serve`; docs/serve.md).

settings    what can be set
served      what a service answers for: the bundle's terms and how to build its mentor again
precision   whether bf16 changes an answer
answering   raw samples -> answers in the spaces the probes compare in, behind the cache
wire        the bodies of a request and of its answer
tokens      a token for each device
limits      how much a device, and all of them, may ask at once
door        what of a request is checked before the mentor sees it
loop, api   LitServe's worker: batches of samples across requests
metrics     Prometheus; the bound on waiting
openapi     the schema of the service
server      all of it in one process group
"""
