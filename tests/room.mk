include tests/fault/room.mk
