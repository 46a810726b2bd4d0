"""matterloop: from a wish to ranked, checked crystals."""
