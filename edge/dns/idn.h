#ifndef WEIR_EDGE_DNS_IDN_H
#define WEIR_EDGE_DNS_IDN_H
/* idn.h - internationalized domains as the DNS knows them (RFC 5891): "bücher.example" is "xn--bcher-kva.example". Pure. */
#include <stdbool.h>
#include "edge/dns/packet.h"

/* Copies what is ASCII, converts the rest. false: no name can be spelled like that, or it is too long. */
bool dns_name_ascii(char out[DNS_NAME_MAX], const char *name);

#endif
