export type { Judged, Watch } from "./anomaly/normal.js";
export { Bundle, type OpenOptions } from "./bundle/bundle.js";
export { BundleError } from "./bundle/errors.js";
export { fetchBundle, type FetchOptions } from "./bundle/fetched.js";
export type { Knob, Knobs } from "./bundle/manifest/inputs.js";
export type { FileEntry, Manifest, OrtTraining } from "./bundle/manifest/manifest.js";
export { UNLABELLED, type Samples, type Supervision } from "./bundle/packs.js";
export type { Graph, OptimizerStep, Preprocessing } from "./bundle/manifest/parts.js";
export { SampleError, asItIs, preprocess, type Input } from "./bundle/preprocess.js";
export { MemorySource, type Found, type Source } from "./bundle/source.js";
export type { Part, Stock } from "./bundle/manifest/stock.js";
export type { Bytes } from "./bytes.js";
export type { Guess } from "./labels/guessing.js";
export type { Mentor } from "./labels/own-mentor.js";
export type { GuessRules } from "./labels/rules.js";
export type { Mixing, OwnAnswers } from "./learner/batch.js";
export { Learner, LearningError, type Learned, type Learning, type Prediction, type Terms } from "./learner/learner.js";
export { Random, type RandomState } from "./learner/random.js";
export { RuntimeError } from "./learner/refusals.js";
export type { Runtime, SessionOptions } from "./learner/runtime.js";
export type { State } from "./learner/session.js";
export { SnapshotError, readCheckpoint, readSnapshot, writeSnapshot, type Snapshot } from "./learner/snapshot.js";
export type { Names } from "./bundle/manifest/spare.js";
export { Asking, type AskOptions, type AskResult } from "./online/asking.js";
export { onCharger, onNetwork } from "./online/conditions.js";
export { AskError } from "./online/errors.js";
export { Service, type ServiceOptions } from "./online/service.js";
export type { Asked } from "./owner/asked.js";
export type { Importing, Migrating } from "./owner/opening.js";
export { Owner } from "./owner/owner.js";
export type {
  AsideSample,
  Budget,
  Curve,
  Done,
  EnrolledSample,
  Entry,
  Plan,
  Settings,
  Source as LabelSource,
  StoredSample,
  Version,
} from "./owner/record.js";
export type { Progress, RunResult, Running } from "./owner/runs/runs.js";
export type { Streaming } from "./owner/runs/stream.js";
export { StateError } from "./owner/state.js";
export type { Unlearned } from "./owner/runs/unlearn.js";
export type { Score } from "./relocate/candidates.js";
export type { Merged } from "./relocate/merge.js";
export type { Migrated } from "./relocate/migrate.js";
export { samplePixels, type Photo, type PhotoRules } from "./photo/photo.js";
export { INTERPOLATIONS, type Interpolation } from "./photo/resample.js";
export { strokeImage, type Drawing } from "./strokes/image.js";
export { DrawingError, sideOf, visible, type Canvas, type PenPoint, type Stroke } from "./strokes/strokes.js";
export { EncryptedStorage, type StorageKey } from "./storage/encrypted.js";
export { IndexedDbStorage } from "./storage/indexeddb.js";
export { MemoryStorage } from "./storage/memory.js";
export { StorageError, type Storage } from "./storage/storage.js";
export { DONT_KNOW, answer, softmax, type Answers } from "./guard/answers.js";
export { clearlyBetter, clearlyWorse, compared, heldOut, type HeldOut } from "./guard/holdout.js";
export { LIMITS, judge, measure, type Limits, type Measured } from "./guard/measures.js";
export { Enrolment, type Recognised, type Recognising } from "./prototypes/enrolment.js";
export { NotTensors, readTensors, writeTensors, type Dtype, type Tensor, type Tensors } from "./tensors/safetensors.js";
