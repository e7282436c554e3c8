include tests/bench/room.mk
include tests/fault/room.mk
