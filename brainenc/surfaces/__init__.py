"""Maps to pictures and files: meshes, flatmaps, inflated views, slices, atlases, exports; headless, light to import."""
