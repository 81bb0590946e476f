"""Read and write weights and settings: policies as folders, and the released checkpoint."""
