"""The Live page: what a camera, a clip or a stream shows now, asked about again and again."""
