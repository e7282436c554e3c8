/*
 * dns_records.c - see dns_records.h
 */
#include "coordinator/dns_records.h"
#include <sys/socket.h>
#include "common/config_form.h"
#include "common/netaddr.h"

bool dns_record_add(struct text *out, const char *name, uint64_t ttl_s, const char *text)
{
    struct netaddr address;
    char formatted[NETADDR_TEXT_MAX];

    if (text == NULL || !netaddr_parse(&address, text))
        return false;
    text_printf(out, "%s. %llu IN %s %s\n", name, (unsigned long long)ttl_s, address.family == AF_INET ? "A" : "AAAA", netaddr_format(&address, formatted));
    return true;
}

bool dns_update_script(struct text *out, const struct dns_update *update, const json_t *addresses)
{
    struct netaddr server;
    struct error why;
    char formatted[NETADDR_TEXT_MAX];
    struct text records;
    size_t i, count = 0;
    const json_t *address;

    if (!form_name_server(&server, update->server, &why))
        return false;
    text_init(&records);
    json_array_foreach(addresses, i, address)
    {
        struct text record;
        text_init(&record);
        if (dns_record_add(&record, update->name, update->ttl_s, json_string_value(address))) {
            text_printf(&records, "update add %s", record.data);
            count++;
        }
        text_fini(&record);
    }
    if (count > 0) {
        text_printf(out, "server %s %u\nzone %s.\n", netaddr_format(&server, formatted), server.port, update->zone);
        text_printf(out, "prereq nxrrset %s. CNAME\n", update->name);
        text_printf(out, "update delete %s. A\nupdate delete %s. AAAA\n%ssend\n", update->name, update->name, records.data);
    }
    text_fini(&records);
    return count > 0;
}

bool dns_removal_script(struct text *out, const struct dns_update *update, const json_t *addresses)
{
    struct netaddr server, address;
    struct error why;
    char formatted[NETADDR_TEXT_MAX];
    size_t i;
    const json_t *one;

    if (!form_name_server(&server, update->server, &why))
        return false;
    text_printf(out, "server %s %u\nzone %s.\n", netaddr_format(&server, formatted), server.port, update->zone);
    json_array_foreach(addresses, i, one)
        if (json_is_string(one) && netaddr_parse(&address, json_string_value(one)))
            text_printf(out, "update delete %s. %s %s\n", update->name, address.family == AF_INET ? "A" : "AAAA", netaddr_format(&address, formatted));
    text_printf(out, "send\n");
    return true;
}
