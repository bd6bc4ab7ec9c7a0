"""Fine-tuned networks that were kept: predict with them, hand them on, describe them."""
