"""What a GPU needs beside the common loop: graphs, images on the device, resizing there, memory formats."""
