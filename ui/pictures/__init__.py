"""Looking at pictures: strips of thumbnails, and the viewer that opens one whole."""
