"""The ``vlm`` teacher: a vision-language model that looks first, reasons second and writes last."""
