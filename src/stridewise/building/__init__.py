"""From recorded calls to a Graph: what tracing and onnxfile share."""
