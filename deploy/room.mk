include deploy/tools/room.mk
