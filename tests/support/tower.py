"""The type checker of the test suite: beartype, with an int allowed where a float is."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
