"""Using what a study kept: networks loaded again, predictions of new images, exports, model cards."""
