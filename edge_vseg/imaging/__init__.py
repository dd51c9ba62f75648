"""Images in and label maps out: preprocessing, label maps, tiles, overlays."""
