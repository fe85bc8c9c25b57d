"""How files come in and go out: where they lie (storage), what they are (media), how they are served (serving)."""
