"""What only a GPU needs: CUDA graphs, images kept and resized on the device, the best memory format."""
