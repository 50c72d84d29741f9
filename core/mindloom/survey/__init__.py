"""Data sets outside of training: looked over (``mindloom data check``) and written in another format (``convert``)."""
