#ifndef WEIR_COMMON_ATTACHMENT_KIND_H
#define WEIR_COMMON_ATTACHMENT_KIND_H
/* attachment_kind.h - what attached files are called, in outbreak_types and wherever operators read of them; numbers are those of weir.proto's AttachmentKind */

#define ATTACHMENT_KINDS 12 /* 0 is none */

const char *attachment_kind_name(unsigned kind); /* "macro"; "" for none; static */
/* 0: there is no such kind. */
unsigned attachment_kind_find(const char *name);

#endif
