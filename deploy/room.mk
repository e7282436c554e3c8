include deploy/tools/room.mk deploy/sendmail/room.mk
