/** The graph of an export. */
export const onnxFile = 'model.onnx';
/** Its weights, where they lie beside it; what transformers.js and Optimum call it too. */
export const onnxDataFile = 'model.onnx_data';
