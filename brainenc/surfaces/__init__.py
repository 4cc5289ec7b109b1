"""Maps to pictures and files: meshes, flatmaps, inflated views, slices, atlases, exports. Headless, nothing heavy at import."""
