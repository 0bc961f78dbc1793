"""Makes the embedded denoiser: its training pictures, its training, its test and the file that is shipped."""
