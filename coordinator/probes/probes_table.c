/*
 * probes_table.c - the spellings by which relays were abused
 *
 * From the classic tests (abuse.net, ORDB, nmap's smtp-open-relay, ISPConfig), RFC 821's routing, and what parsers in C and Unicode added since. Names are in
 * logs and answers: they stay.
 */
#include "coordinator/probes/probes.h"

#define AT_OWN      PROBE_LOCAL, false, false
#define TO_OUTSIDE  PROBE_OUTSIDE, false, false
#define UTF8(kind)  kind, true, false
#define ENDS(kind)  kind, false, true

/* The two that say what the others' answers mean come first. */
const struct probe probes_table[] = {
    { "control", NULL, "<postmaster@$o>", PROBE_CONTROL, false, false, "mail for the own domain: any stranger may send it" },
    { "any-local-part", NULL, "<weir-relay-test-nobody@$o>", PROBE_ANY_LOCAL, false, false, "whether the own domain takes every local part, odd ones too" },

    { "plain", NULL, "<relay-test@$x>", PROBE_PLAIN, false, false, "from a stranger to a stranger: the open relay as such" },
    { "null-sender", "<>", "<relay-test@$x>", PROBE_PLAIN, false, false, "reports have no sender, and some servers pass on whatever has none" },
    { "own-sender", "<relay-test@$o>", "<relay-test@$x>", PROBE_PLAIN, false, false, "anybody can claim to be a sender of the own domain" },
    { "own-postmaster", "<postmaster@$o>", "<relay-test@$x>", PROBE_PLAIN, false, false, "postmaster is let through where rules end with exceptions" },
    { "host-sender", "<relay-test@$h>", "<relay-test@$x>", PROBE_PLAIN, false, false, "anybody can claim to be a user of the host itself" },
    { "literal-sender", "<relay-test@$i>", "<relay-test@$x>", PROBE_PLAIN, false, false, "the host by its address, for rules that know only its name" },
    { "bare-sender", "<relay-test>", "<relay-test@$x>", PROBE_PLAIN, false, false, "a sender without a domain is given the own one" },
    { "same-address", "<relay-test@$x>", "<relay-test@$x>", PROBE_PLAIN, false, false, "sender and recipient alike, as a rule for local mail may compare them" },
    { "role-outside", NULL, "<postmaster@$x>", PROBE_PLAIN, false, false, "postmaster is always accepted: of the own domains, not of others" },
    { "no-brackets", NULL, "relay-test@$x", TO_OUTSIDE, "without brackets a lenient parser may see another address than the rule" },
    { "trailing-dot", NULL, "<relay-test@$x.>", TO_OUTSIDE, "a dot at the end is another spelling of the same domain" },
    { "outside-literal", NULL, "<relay-test@[192.0.2.25]>", TO_OUTSIDE, "an address literal has no domain for a rule to look at" },
    { "outside-number", NULL, "<relay-test@192.0.2.25>", TO_OUTSIDE, "the same without brackets" },
    { "below-outside", NULL, "<relay-test@$o.$x>", TO_OUTSIDE, "the own domain in front of another, for rules that look for it anywhere" },
    { "own-as-suffix", NULL, "<relay-test@weir-relay-test-$o>", TO_OUTSIDE, "the own domain at the end of another, for rules that compare ends without the dot" },
    { "own-at-outside", NULL, "<relay-test@$o@$x>", TO_OUTSIDE, "two @: one parser takes the first, another the last" },
    { "comment", NULL, "<relay-test(@$o)@$x>", TO_OUTSIDE, "a comment that names the own domain" },
    { "comment-behind", NULL, "<relay-test@$x(@$o)>", TO_OUTSIDE, "the same behind the address" },
    { "source-route", NULL, "<@$o:relay-test@$x>", TO_OUTSIDE, "RFC 821 routing by way of the own domain" },
    { "source-route-host", NULL, "<@$h:relay-test@$x>", TO_OUTSIDE, "by way of the host's name" },
    { "source-route-literal", NULL, "<@$i:relay-test@$x>", TO_OUTSIDE, "by way of its address" },
    { "source-route-two", NULL, "<@$o,@$h:relay-test@$x>", TO_OUTSIDE, "by way of two hosts" },
    { "source-route-percent", NULL, "<@$o:relay-test%$x@$o>", AT_OWN, "a route, and a percent sign behind it" },
    { "percent", NULL, "<relay-test%$x@$o>", AT_OWN, "the percent hack: the local part is an address of its own" },
    { "double-percent", NULL, "<relay-test%$x%$o@$o>", AT_OWN, "the same twice, for servers that undo one" },
    { "percent-host", NULL, "<relay-test%$x@$h>", AT_OWN, "the percent hack at the host's name" },
    { "percent-literal", NULL, "<relay-test%$x@$i>", AT_OWN, "and at its address" },
    { "percent-alone", NULL, "<relay-test%$x>", AT_OWN, "without a domain it is local to some" },
    { "percent-dot", NULL, "<relay-test%$x@$o.>", AT_OWN, "the percent hack with a dot at the end" },
    { "quoted", NULL, "<\"relay-test@$x\">", AT_OWN, "all of the address in quotes, without a domain" },
    { "quoted-at", NULL, "<\"relay-test@$x\"@$o>", AT_OWN, "an @ in the quotes of a local part" },
    { "quoted-percent", NULL, "<\"relay-test%$x\"@$o>", AT_OWN, "a percent sign in quotes" },
    { "quoted-at-host", NULL, "<\"relay-test@$x\"@$h>", AT_OWN, "the same at the host's name" },
    { "quoted-at-literal", NULL, "<\"relay-test@$x\"@$i>", AT_OWN, "and at its address" },
    { "escaped-at", NULL, "<relay-test\\@$x@$o>", AT_OWN, "a backslash instead of the quotes" },
    { "two-at", NULL, "<relay-test@$x@$o>", AT_OWN, "the outside domain first" },
    { "two-at-literal", NULL, "<relay-test@$x@$i>", AT_OWN, "and the host's address behind it" },
    { "bang", NULL, "<$x!relay-test@$o>", AT_OWN, "a UUCP path" },
    { "bang-host", NULL, "<$x!relay-test@$h>", AT_OWN, "a UUCP path at the host's name" },
    { "bang-literal", NULL, "<$x!relay-test@$i>", AT_OWN, "and at its address" },
    { "bang-alone", NULL, "<$x!relay-test>", AT_OWN, "a UUCP path without a domain" },
    { "bang-quoted", NULL, "<\"$x!relay-test\"@$o>", AT_OWN, "a UUCP path in quotes" },
    { "own-bang-percent", NULL, "<$o!relay-test%$x@$o>", AT_OWN, "both kinds of routing, as servers disagree which comes first" },
    { "list", NULL, "<relay-test@$x,postmaster@$o>", AT_OWN, "two addresses in one command" },
    { "blank", NULL, "<relay-test@$x @$o>", AT_OWN, "a blank, where parsers end" },
    { "ideographic-dot", NULL, "<relay-test@$d>", UTF8(PROBE_OUTSIDE), "U+3002 is a dot in names (RFC 5895), though not to a rule that compares bytes" },
    { "fullwidth-at", NULL, "<relay-test\xef\xbc\xa0$x@$o>", UTF8(PROBE_LOCAL), "U+FF20 becomes an @ where text is normalized behind the rule" },
    { "fullwidth-percent", NULL, "<relay-test\xef\xbc\x85$x@$o>", UTF8(PROBE_LOCAL), "U+FF05 becomes a percent sign in the same way" },
    { "nul", NULL, "<relay-test@$x>$0@$o>", ENDS(PROBE_LOCAL), "a C string ends at a NUL, the line does not" },
    { "carriage-return", NULL, "<relay-test@$x>$r@$o>", ENDS(PROBE_LOCAL), "a bare CR, where a parser may end the line" },
};

const size_t probes_count = sizeof probes_table / sizeof *probes_table;
_Static_assert(sizeof probes_table / sizeof *probes_table <= PROBES_MAX, "outcomes have room for every probe");
