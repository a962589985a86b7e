"""What tests share: paths, small data, tiny models. Import as ``from support.… import …``."""
