// The runtime, which the app gives: anything with the API of onnxruntime-common.

import type { InferenceSession, InferenceSessionFactory, TensorConstructor } from "onnxruntime-common";

/** `onnxruntime-web`, `onnxruntime-node` and `onnxruntime-react-native` are one each. */
export interface Runtime {
  readonly InferenceSession: InferenceSessionFactory;
  readonly Tensor: TensorConstructor;
}

export type SessionOptions = InferenceSession.SessionOptions;

/** One thread, and no line about a healthy graph; what goes wrong is thrown as well. */
export const DEFAULT_OPTIONS: SessionOptions = { intraOpNumThreads: 1, interOpNumThreads: 1, logSeverityLevel: 4 };
