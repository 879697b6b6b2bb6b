"""Strides from where people write them: configs of detectors, segmentation networks, transformers. Nothing is run."""
