/* test_policy.c - routes, own domains and networks: what each line means, what is wrong with it, and who may relay */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "common/policy/parties.h"
#include "common/policy/policy.h"
#include "tests/unit/suite.h"

static struct policy_file file(const char *name, const char *text)
{
    return (struct policy_file){ name, text, strlen(text) };
}

static struct policy *parse(const char *mailertable, const char *own, const char *networks)
{
    struct policy_file files[3] = { file("mailertable", mailertable), file("local-host-names", own), file("networks", networks) };
    struct error why = { "" };
    struct policy *policy = policy_parse(files, 3, &why);

    ck_assert_msg(policy != NULL, "%s", why.text);
    return policy;
}

/* What one mailertable value becomes, as "kind host port" or "error code enhanced text" */
static const struct {
    const char *value, *route;
} values[] = {
    { "smtp:[mail.example.edu]", "smtp mail.example.edu 25" },
    { "SMTP:[Mail.Example.EDU.]:2525", "smtp mail.example.edu 2525" },
    { "esmtp:[192.0.2.9]", "smtp 192.0.2.9 25" },
    { "relay:[2001:DB8::9]:587", "smtp 2001:db8::9 587" },
    { "relay:[IPv6:2001:db8::9]", "smtp 2001:db8::9 25" },
    { "relay:[localhost]", "smtp localhost 25" },
    { "smtp:Mail.example.edu", "mx mail.example.edu 25" },
    { "relay:mail.example.edu:587", "mx mail.example.edu 587" },
    { "discard:", "discard" },
    { "discard", "discard" },
    { "error:5.1.1:550 No such user", "error 550 5.1.1 No such user" },
    { "error:5.7.0:\"550 Go away # really\"", "error 550 5.7.0 Go away # really" },
    { "error:550 5.1.1 No such user", "error 550 5.1.1 No such user" },
    { "error:550 No such user", "error 550 5.0.0 No such user" },
    { "error:550:No such user", "error 550 5.0.0 No such user" },
    { "error:451 4.3.0 Later", "error 451 4.3.0 Later" },
    { "error:4.3.0:Later", "error 450 4.3.0 Later" },
    { "error:nouser No such user", "error 550 5.1.1 No such user" },
    { "error:nouser:550 No such user", "error 550 5.1.1 No such user" },
    { "error:nohost", "error 550 5.1.2 Host unknown" },
    { "error:unavailable", "error 550 5.3.0 Service unavailable" },
    { "error:tempfail", "error 450 4.3.0 Try again later" },
    { "error:Closed for good", "error 550 5.0.0 Closed for good" },
    { "error:5.1.1", "error 550 5.1.1 Recipient address rejected" },
    { "error:", "error 550 5.0.0 Recipient address rejected" },
    { "error:5.1.1:550 Wrapped\n \t over lines # comment\n# more\n  three", "error 550 5.1.1 Wrapped over lines three" },
};

static void format_route(const struct route *route, char *out, size_t cap)
{
    if (route->kind == ROUTE_SMTP)
        snprintf(out, cap, "%s %s %u", route->mx ? "mx" : "smtp", route->host, route->port);
    else if (route->kind == ROUTE_ERROR)
        snprintf(out, cap, "error %d %s %s", route->code, route->enhanced, route->text);
    else
        snprintf(out, cap, "%s", route->kind == ROUTE_DISCARD ? "discard" : "none");
}

START_TEST(mailer_values)
{
    char text[400], out[700];

    snprintf(text, sizeof text, "# table\n\nexample.edu\t%s\n", values[_i].value);
    struct policy *policy = parse(text, "", "");
    struct route route = policy_route(policy, "example.edu");
    format_route(&route, out, sizeof out);
    ck_assert_str_eq(out, values[_i].route);
    ck_assert_str_eq(route.file, "mailertable");
    ck_assert_uint_eq(route.line, 3);
    ck_assert(!route.catch_all);
    policy_free(&policy);
    ck_assert_ptr_null(policy);
    policy_free(&policy);
}
END_TEST

#define SIGNED "reason=r owner=o approved_by=a expires=2026-12-31"

#define NO_IDN ": it has characters, perhaps invisible, that none has (RFC 5892); write letters and digits, or its xn-- form"

static const struct {
    const char *name, *text, *why;
} errors[] = {
    { "mailertable", "example.edu\n", "mailertable:1: error: 'example.edu' has no route: write domain, white space, mailer:host, as "
                                      "example.edu smtp:[mail.example.edu]" },
    { "mailertable", "a.edu smtp:[b]\nexample.edu mail.example.edu\n",
      "mailertable:2: error: 'mail.example.edu': expected mailer:host, as smtp:[mail.example.edu]" },
    { "mailertable", "example.edu :[x]\n", "mailertable:1: error: ':[x]': expected mailer:host, as smtp:[mail.example.edu]" },
    { "mailertable", "example.edu local:x\n", "mailertable:1: error: unknown mailer 'local': smtp, esmtp, relay, error or discard" },
    { "mailertable", "example.edu smtp:192.0.2.1\n", "mailertable:1: error: an address is written in brackets: [192.0.2.1]" },
    { "mailertable", "example.edu smtp:[a]:[b]\n", "mailertable:1: error: '[b]': one host only; a list of hosts to fall back to is not supported" },
    { "mailertable", "example.edu smtp:a:[b]\n", "mailertable:1: error: '[b]': one host only; a list of hosts to fall back to is not supported" },
    { "mailertable", "example.edu smtp:[a]:0\n", "mailertable:1: error: '0': the port is a number from 1 to 65535" },
    { "mailertable", "example.edu smtp:[a]:smtp\n", "mailertable:1: error: 'smtp': the port is a number from 1 to 65535" },
    { "mailertable", "example.edu smtp:[a]:655360\n", "mailertable:1: error: '655360': the port is a number from 1 to 65535" },
    { "mailertable", "example.edu smtp:[a\n", "mailertable:1: error: '[a': expected [host] or [host]:port" },
    { "mailertable", "example.edu smtp:[a]x\n", "mailertable:1: error: '[a]x': expected [host] or [host]:port" },
    { "mailertable", "example.edu smtp:[]\n", "mailertable:1: error: '' is not a domain" },
    { "mailertable", "example.edu smtp:[a_b..c]\n", "mailertable:1: error: 'a_b..c' is not a domain" },
    { "mailertable", "example.edu smtp:[256.1.1.1]\n", "mailertable:1: error: '256.1.1.1' is neither an address nor a name" },
    { "mailertable", "example.edu smtp:[1.2.3]:26\n", "mailertable:1: error: '1.2.3' is neither an address nor a name" },
    { "mailertable", "example.edu smtp:[0x7f.0X1]\n", "mailertable:1: error: '0x7f.0X1' is neither an address nor a name" },
    { "mailertable", "example.edu smtp:a.edu.25.\n", "mailertable:1: error: 'a.edu.25.' is neither an address nor a name" },
    { "mailertable", "example.edu smtp:[2130706433]\n", "mailertable:1: error: '2130706433' is neither an address nor a name" },
    { "mailertable", "example.edu smtp:[a] b\n", "mailertable:1: error: '[a] b': a host has no white space in it" },
    { "mailertable", "example.edu discard:x\n", "mailertable:1: error: 'x' after discard: nothing may follow" },
    { "mailertable", "example.edu error:5.1.1:450 x\n",
      "mailertable:1: error: 450 and 5.1.1 contradict each other: both begin with 4 (try again) or with 5 (final)" },
    { "mailertable", "example.edu error:250 x\n", "mailertable:1: error: 250 is not a reply code for a refusal: 4xx or 5xx, as 550" },
    { "mailertable", "example.edu error:599 x\n", "mailertable:1: error: 599 is not a reply code for a refusal: 4xx or 5xx, as 550" },
    { "mailertable", "example.edu error:421 x\n", "mailertable:1: error: 421 would end the client's session: use 450 or 451" },
    { "mailertable", "example.edu error:5.1:550 x\n", "mailertable:1: error: '5.1:550 x': expected error:5.1.1:550 text, or error:550 5.1.1 text" },
    { "mailertable", "example.edu error:550 gr\xc3\xbc\xc3\x9f\n", "mailertable:1: error: the text of a reply is printable ASCII (RFC 5321 4.2)" },
    { "mailertable", "user@example.edu smtp:[a]\n",
      "mailertable:1: error: 'user@example.edu': a key is a domain, .domain or '.'; single mailboxes cannot be routed here" },
    { "mailertable", "*.example.edu smtp:[a]\n", "mailertable:1: error: '*.example.edu': write '.example.edu' for all subdomains" },
    { "mailertable", "* smtp:[a]\n", "mailertable:1: error: '*': write '.' for everything else" },
    { "mailertable", "-x.edu smtp:[a]\n", "mailertable:1: error: '-x.edu' is not a domain" },
    { "mailertable", "x-.edu smtp:[a]\n", "mailertable:1: error: 'x-.edu' is not a domain" },
    { "mailertable", "x.edu- smtp:[a]\n", "mailertable:1: error: 'x.edu-' is not a domain" },
    { "mailertable", "x..edu smtp:[a]\n", "mailertable:1: error: 'x..edu' is not a domain" },
    { "mailertable", "x.edu.. smtp:[a]\n", "mailertable:1: error: 'x.edu.' is not a domain" },
    { "mailertable", "x.- smtp:[a]\n", "mailertable:1: error: 'x.-' is not a domain" },
    { "mailertable", "[192.0.2.1] smtp:[a]\n", "mailertable:1: error: '[192.0.2.1]' is not a domain" },
    { "mailertable", "b\xff smtp:[a]\n", "mailertable:1: error: 'b\xff' is not a domain" NO_IDN },
    { "mailertable", "example.edu smtp:[a]\n\nExample.EDU. smtp:[b]\n", "mailertable:3: error: 'example.edu' has a route already, in line 1" },
    { "mailertable", ". smtp:[a]\n. smtp:[b]\n", "mailertable:2: error: '.' has a route already, in line 1" },
    { "mailertable", "# x\n  a.edu smtp:[a]\n",
      "mailertable:2: error: a line that begins with white space continues the one before, and there is none" },
    { "mailertable", "a.edu smtp:[a]\nb.edu smtp:\x01\n", "mailertable:2: error: the line has a control character (0x01)" },
    { "local-host-names", "a.edu b.edu\n", "local-host-names:1: error: 'a.edu b.edu': one domain a line" },
    { "local-host-names", "a.edu\n b.edu\n", "local-host-names:1: error: 'a.edu b.edu': one domain a line" },
    { "local-host-names", ".a.edu\n", "local-host-names:1: error: '.a.edu': a whole domain only; subdomains get a line each, or a route in mailertable" },
    { "local-host-names", "joe@a.edu\n", "local-host-names:1: error: 'joe@a.edu': a domain, without a mailbox" },
    { "local-host-names", "a,edu\n", "local-host-names:1: error: 'a,edu' is not a domain" },
    { "networks", "192.0.2.7/24\n", "networks:1: error: '192.0.2.7/24' has bits set behind the prefix: write 192.0.2.0/24" },
    { "networks", "192.0.2.0/24 198.51.100.0/24\n", "networks:1: error: '198.51.100.0/24' after 192.0.2.0/24: one network a line, and behind it at "
                                                    "most its name: a letter, then letters, digits, '.', '_', '-', or a mail address" },
    { "networks", "192.0.2.0/24 two words\n", "networks:1: error: 'two words' after 192.0.2.0/24: one network a line, and behind it at "
                                              "most its name: a letter, then letters, digits, '.', '_', '-', or a mail address" },
    { "networks", "127.0.0.1, ::1\n", "networks:1: error: ', ::1' after 127.0.0.1: one network a line" },
    { "networks", "campus\n", "networks:1: error: 'campus' is not an IP address or network: write 192.0.2.0/24 or 2001:db8::/32" },
    { "networks", "!\n", "networks:1: error: '' is not an IP address or network: write 192.0.2.0/24 or 2001:db8::/32" },
    { "networks", "0.0.0.0/0\n", "networks:1: error: 0.0.0.0/0 would make every host an inside one, and this an open relay" },
    { "networks", "::/0\n", "networks:1: error: ::/0 would make every host an inside one, and this an open relay" },
    { "networks", "10.0.0.0/8\n192.0.2.0/24\n\n!10.0.0.0/8\n", "networks:4: error: 10.0.0.0/8 is inside and excluded: line 1 says the opposite" },
    { "exceptions", "192.0.2.7/24 max_recipients=1 " SIGNED "\n", "exceptions:1: error: '192.0.2.7/24' has bits set behind the prefix: write 192.0.2.0/24" },
    { "exceptions", "printer max_recipients=1 " SIGNED "\n",
      "exceptions:1: error: 'printer' is not an IP address or network: write 192.0.2.0/24 or 2001:db8::/32" },
    { "exceptions", "::1 " SIGNED "\n", "exceptions:1: error: it changes no limit: give max_message_size=, max_recipients= or limits=" },
    { "exceptions", "::1 limits=10 " SIGNED "\n", "exceptions:1: error: limits=10: how many times as much as the lines of limits say, from 2x to 1000x, or none" },
    { "exceptions", "::1 limits=1x " SIGNED "\n", "exceptions:1: error: limits=1x: how many times as much as the lines of limits say, from 2x to 1000x, or none" },
    { "exceptions", "::1 limits=1001x " SIGNED "\n", "exceptions:1: error: limits=1001x: how many times as much as the lines of limits say, from 2x to 1000x, or none" },
    { "exceptions", "account:joe max_recipients=5 limits=2x " SIGNED "\n", "exceptions:1: error: an account has limits= only: max_message_size and max_recipients count before anybody has logged in, and are a network's" },
    { "exceptions", "account: limits=2x " SIGNED "\n", "exceptions:1: error: account:: the name of an account, as account:newsletter" },
    { "exceptions", "account:joe limits=2x " SIGNED "\naccount:Joe limits=3x " SIGNED "\n", "exceptions:2: error: account:joe has an exception already, in line 1" },
    { "exceptions", "::1 max_recipients=1\n", "exceptions:1: error: reason= is missing: an exception has reason, owner, approved_by and expires" },
    { "exceptions", "::1 max_recipients=1 reason=r owner=o approved_by=a\n",
      "exceptions:1: error: expires= is missing: an exception has reason, owner, approved_by and expires" },
    { "exceptions", "::1 max_message_size=100 " SIGNED "\n", "exceptions:1: error: max_message_size=100: a size from 1KiB to 1TiB, as 100MiB" },
    { "exceptions", "::1 max_message_size=big " SIGNED "\n", "exceptions:1: error: max_message_size=big: a size from 1KiB to 1TiB, as 100MiB" },
    { "exceptions", "::1 max_recipients=0 " SIGNED "\n", "exceptions:1: error: max_recipients=0: a number from 1 to 100000" },
    { "exceptions", "::1 max_recipients=100001 " SIGNED "\n", "exceptions:1: error: max_recipients=100001: a number from 1 to 100000" },
    { "exceptions", "::1 max_recipients=1 max_recipients=2 " SIGNED "\n", "exceptions:1: error: max_recipients is given twice" },
    { "exceptions", "::1 max_recipient=1 " SIGNED "\n", "exceptions:1: error: unknown key 'max_recipient': those are max_message_size, max_recipients, limits, "
                                                        "reason, owner, approved_by and expires" },
    { "exceptions", "::1 max_recipients 1\n", "exceptions:1: error: 'max_recipients 1': expected key=value, or key=\"some words\"" },
    { "exceptions", "::1 max_recipients=1 =x\n", "exceptions:1: error: '=x': expected key=value, or key=\"some words\"" },
    { "exceptions", "::1 reason=\"it never ends\n", "exceptions:1: error: reason=\"it never ends: the closing quote is missing" },
    { "exceptions", "::1 reason=\"a\"b\n", "exceptions:1: error: reason=a\"b: a value with blanks or quotes stands in quotes as a whole" },
    { "exceptions", "::1 reason=a\"b\"\n", "exceptions:1: error: reason=a\"b\": a value with blanks or quotes stands in quotes as a whole" },
    { "exceptions", "::1 reason=\n", "exceptions:1: error: reason= needs words, at most 200 bytes" },
    { "exceptions", "::1 expires=2026-02-29\n",
      "exceptions:1: error: expires=2026-02-29: the last day in force, as 2026-12-31, or a moment, as 2026-12-31T18:00:00Z" },
    { "exceptions", "::1 expires=never\n",
      "exceptions:1: error: expires=never: the last day in force, as 2026-12-31, or a moment, as 2026-12-31T18:00:00Z" },
    { "exceptions", "::1 expires=2026-12-31T25:00:00Z\n",
      "exceptions:1: error: expires=2026-12-31T25:00:00Z: the last day in force, as 2026-12-31, or a moment, as 2026-12-31T18:00:00Z" },
    { "exceptions", "::1 max_recipients=1 " SIGNED "\n127.0.0.1 max_recipients=1 " SIGNED "\n::1/128 max_recipients=2 " SIGNED "\n",
      "exceptions:3: error: ::1/128 has an exception already, in line 1" },
    { "access", "", "access: error: not a policy file, and not included by aliases; those are mailertable, local-host-names, networks, exceptions, aliases, verify, limits, recipient_delimiter, hosts and spam" },
    { "hosts", "192.0.2.7 owner=library\n", "hosts:1: error: reason= is missing: a registered host has owner and reason" },
    { "hosts", "192.0.2.7 reason=\"the catalogue\"\n", "hosts:1: error: owner= is missing: a registered host has owner and reason" },
    { "hosts", "192.0.2.7 owner=a owner=b reason=c\n", "hosts:1: error: owner is given twice" },
    { "hosts", "192.0.2.7 owner=a reason=c since=1999\n", "hosts:1: error: unknown key 'since': those are owner, reason, approved_by and expires" },
    { "hosts", "192.0.2.7 owner=a reason=c expires=2026-12-31 expires=2026-12-30\n", "hosts:1: error: expires is given twice" },
    { "hosts", "192.0.2.7 owner=a reason=c expires=2026-02-30\n", "hosts:1: error: expires=2026-02-30: the last day in force, as 2026-12-31, or a moment, as 2026-12-31T18:00:00Z" },
    { "hosts", "192.0.2.7 owner= reason=c\n", "hosts:1: error: owner= needs words, at most 200 bytes" },
    { "hosts", "0.0.0.0/0 owner=a reason=c\n", "hosts:1: error: 0.0.0.0/0 would register every host" },
    { "hosts", "192.0.2.7 owner=a reason=c\n192.0.2.7/32 owner=a reason=c\n", "hosts:2: error: 192.0.2.7/32 is registered already, in line 1" },
    { "limits", "outside client messages 1/s\n", "limits:1: error: 'outside' is no direction: inbound, outbound, submission or handoff, as in inbound client messages 100/minute" },
    { "limits", "inbound user messages 1/s\n", "limits:1: error: 'user' is no party: client, prefix, host, account, domain, registered or unregistered, as in inbound client messages 100/minute" },
    { "limits", "inbound client mails 1/s\n", "limits:1: error: 'mails' is no quantity: connections, messages, recipients or bytes, as in inbound client messages 100/minute" },
    { "limits", "inbound client\n", "limits:1: error: '' is no quantity: connections, messages, recipients or bytes, as in inbound client messages 100/minute" },
    { "limits", "\ninbound client messages 100\n", "limits:2: error: '100' is no rate: an amount and its time, as 100/minute" },
    { "limits", "inbound client bytes\n", "limits:1: error: '' is no rate: an amount and its time, as 500MiB/hour" },
    { "limits", "inbound client messages 1/week\n", "limits:1: error: '/week' is no time: /second, /minute, /hour or /day (/s, /min, /h, /d)" },
    { "limits", "inbound client messages 0/s\n", "limits:1: error: '0': a number from 1 to 100000000000" },
    { "limits", "inbound client messages 1KiB/s\n", "limits:1: error: '1KiB': a number from 1 to 100000000000" },
    { "limits", "inbound client messages 100000000001/s\n", "limits:1: error: '100000000001': a number from 1 to 100000000000" },
    { "limits", "inbound client bytes 1TiB/s\n", "limits:1: error: '1TiB': a size from 1 to 100000000000 bytes, as 500MiB" },
    { "limits", "inbound client bytes 1/s burst\n", "limits:1: error: '': a size from 1 to 100000000000 bytes, as 500MiB" },
    { "limits", "inbound client messages 1/s burst 1 burst 2\n", "limits:1: error: 'burst' is not understood here: behind the rate there may be burst N, and dry_run, each once" },
    { "limits", "inbound client messages 1/s refuse\n", "limits:1: error: 'refuse' is not understood here: behind the rate there may be burst N, and dry_run, each once" },
    { "limits", "handoff client messages 1/s refuse dry_run\n",
      "limits:1: error: 'dry_run' is not understood here: behind the rate there may be burst N, and dry_run or refuse, each once" },
    { "limits", "handoff client messages 1/s\n", "limits:1: error: handoff: its devices cannot send again what is refused: say refuse at the end of the line, or dry_run to have it only "
      "logged and counted" },
    { "limits", "outbound account connections 1/s\n", "limits:1: error: account connections: when a client connects, nobody has logged in or named a sender; those are limited by "
      "client, prefix or host" },
    { "limits", "inbound unregistered messages 1/s\n", "limits:1: error: inbound unregistered: what comes from inside hosts is outbound" },
    { "limits", "inbound host messages 1/s\n", "limits:1: error: inbound host: what comes from a line of networks is outbound" },
    { "limits", "inbound account messages 1/s\n", "limits:1: error: inbound account: what comes from who logged in is outbound" },
    { "limits", "inbound client messages 1/min\ninbound client messages 1/s\ninbound client messages 5/minute\n",
      "limits:3: error: line 1 limits the same in the same time already" },
    { "aliases", "sysadm sysadm@forth\n", "aliases:1: error: 'sysadm': write name: address, address" },
    { "aliases", "sysadm:\n", "aliases:1: error: there is an address missing: write name: address, address" },
    { "aliases", "a: b,, c\n", "aliases:1: error: there is an address missing: write name: address, address" },
    { "aliases", "a: b@forth, x..y\n", "aliases:1: error: 'x..y' is not a name: letters, digits and !#$%&'*+-/=?^_`{|}~, dots between them, or \"other "
                                       "ASCII\" in quotes; at most 64 bytes" },
    { "aliases", "a: b@x_..y\n", "aliases:1: error: 'x_..y' is not a domain" },
    { "aliases", "a: b c@forth\n", "aliases:1: error: 'b c' is not a name: letters, digits and !#$%&'*+-/=?^_`{|}~, dots between them, or \"other "
                                   "ASCII\" in quotes; at most 64 bytes" },
    { "aliases", "a: \"|/usr/bin/procmail\"\n", "aliases:1: error: '\"|/usr/bin/procmail\"': mail to a program is not possible here: nothing is delivered on "
                                                "an edge; route the name to a host that can" },
    { "aliases", "a: /var/mail/a\n", "aliases:1: error: '/var/mail/a': mail into a file is not possible here: nothing is delivered on an edge; route the "
                                     "name to a host that can" },
    { "aliases", "a: \\b@forth\n", "aliases:1: error: '\\b@forth': a backslash is for names without a domain" },
    { "aliases", "a: \"b\n", "aliases:1: error: '\"b': the closing quote is missing" },
    { "aliases", "a: \"b\"c\n", "aliases:1: error: 'c' after \"b\": a quoted name stands alone" },
    { "aliases", "a: b\n# x\nA: c\n", "aliases:3: error: 'a' is an alias already, in line 1" },
    { "aliases", "a: :include:/etc/list\n", "aliases:1: error: :include:/etc/list: the name of a file in the policy's folder, as staff-members" },
    { "aliases", "a: :include:list\n", "aliases:1: error: :include:list: there is no such file in the policy's folder" },
    { "aliases", "a: :include:networks\n", "aliases:1: error: :include:networks: there is no such file in the policy's folder" },
    { "aliases", "a: x@y\nb: c\nc: d, e@f\nd: B\n", "aliases:2: error: 'b' leads back to itself: where it means a mailbox of that name, write \\b" },
    { "local-host-names", "example.edu\nwww.example\u00a0.edu\n", "local-host-names:2: error: 'www.example\u00a0.edu' is not a domain" NO_IDN },
    { "local-host-names", "exa\u200bmple.edu\n", "local-host-names:1: error: 'exa\u200bmple.edu' is not a domain" NO_IDN },
    { "local-host-names", "a.edu\n\ufeffb.edu\n", "local-host-names:2: error: '\ufeffb.edu' is not a domain" NO_IDN },
    { "local-host-names", "\ufeff\ufeffa.edu\n", "local-host-names:1: error: '\ufeffa.edu' is not a domain" NO_IDN },
    { "mailertable", "\u202eb\u00fccher.edu discard:\n", "mailertable:1: error: '\u202eb\u00fccher.edu' is not a domain" NO_IDN },
    { "mailertable", ".b\u00fccher\u3002edu discard:\n", "mailertable:1: error: 'b\u00fccher\u3002edu' is not a domain" NO_IDN },
    { "mailertable", "a.edu smtp:[\u2100.edu]\n", "mailertable:1: error: '\u2100.edu' is not a domain" NO_IDN },
    { "mailertable", "b\u00fccher.edu discard:\nb\u00fccher.EDU. discard:\n", "mailertable:2: error: 'xn--bcher-kva.edu' has a route already, in line 1" },
    { "mailertable", "a.edu discard:\nA.edu discard:\n", "mailertable:2: error: 'a.edu' has a route already, in line 1" },
    { "verify", "b\u00fccher.edu\nb\u00fccher.edu\n", "verify:2: error: 'xn--bcher-kva.edu' is there already, in line 1" },
    { "verify", "a.edu\nA.edu\n", "verify:2: error: 'a.edu' is there already, in line 1" },
    { "recipient_delimiter", "@\n", "recipient_delimiter:1: error: '@': one line with what may stand before a tag, as + or +-; those are +-_=.~" },
    { "recipient_delimiter", "+\n-\n", "recipient_delimiter:2: error: '-': one line with what may stand before a tag, as + or +-; those are +-_=.~" },
    { "aliases", "a: b@exa\u00admple.edu\n", "aliases:1: error: 'exa\u00admple.edu' is not a domain" NO_IDN },
    { "verify", "a.example b\n", "verify:1: error: 'a.example b': one domain a line, as example.edu, .example.edu or !guests.example.edu" },
    { "verify", "u@a.example\n", "verify:1: error: 'u@a.example': a key is a domain, .domain or '.'; single mailboxes cannot be routed here" },
    { "verify", "a.example\n!A.example\n", "verify:2: error: 'a.example' is there already, in line 1" },
};

START_TEST(errors_say_what_is_right)
{
    struct policy_file one = file(errors[_i].name, errors[_i].text);
    struct error why = { "" };

    /* from a copy of exactly its length, so that reading behind it shows */
    char *copy = malloc(one.len + (one.len == 0));
    memcpy(copy, one.text, one.len);
    one.text = copy;
    ck_assert_ptr_null(policy_parse(&one, 1, &why));
    ck_assert_str_eq(why.text, errors[_i].why);
    ck_assert_ptr_null(policy_parse(&one, 1, NULL));
    free(copy);
}
END_TEST

START_TEST(limits_of_lines)
{
    struct policy_file twice[2] = { file("networks", "::1\n"), file("networks", "127.0.0.1\n") };
    struct error why = { "" };
    char text[700];

    ck_assert_ptr_null(policy_parse(twice, 2, &why));
    ck_assert_str_eq(why.text, "networks: error: given twice");
    struct policy_file nul = { "networks", "::1\n\0::2", 8 };
    ck_assert_ptr_null(policy_parse(&nul, 1, &why));
    ck_assert_str_eq(why.text, "networks:2: error: the line has a control character (0x00)");
    struct policy_file none = { "networks", NULL, 0 };
    struct policy *policy = policy_parse(&none, 1, &why);
    ck_assert_ptr_nonnull(policy);
    policy_free(&policy);

    snprintf(text, sizeof text, "a.edu error:550 %0255d\n", 0); /* digits only: refused as a code, so put a letter in front */
    text[16] = 'x';
    policy = parse(text, "", "");
    ck_assert_uint_eq(strlen(policy_route(policy, "a.edu").text), 255);
    policy_free(&policy);
    snprintf(text, sizeof text, "a.edu error:550 x%0255d\n", 0);
    struct policy_file longer = file("mailertable", text);
    ck_assert_ptr_null(policy_parse(&longer, 1, &why));
    ck_assert_str_eq(why.text, "mailertable:1: error: the text is longer than 255 characters");

    snprintf(text, sizeof text, "%063d.%063d.%063d.%061d", 0, 0, 0, 0); /* 253, the most */
    policy = parse("", text, "");
    ck_assert(policy_is_own_domain(policy, text));
    policy_free(&policy);
    snprintf(text, sizeof text, "%063d.%063d.%063d.%062d", 0, 0, 0, 0);
    longer = file("local-host-names", text);
    ck_assert_ptr_null(policy_parse(&longer, 1, &why));
    snprintf(text, sizeof text, "%064d.edu", 0);
    longer = file("local-host-names", text);
    ck_assert_ptr_null(policy_parse(&longer, 1, &why));
}
END_TEST

static const char table[] = "example.edu        smtp:[a]\n"
                            ".example.edu       smtp:[b]\n"
                            "x.y.example.edu    smtp:[c]\n"
                            ".y.example.edu     smtp:[d]\n"
                            "old.example.org    error:5.1.2:550 Gone\n"
                            ".net               smtp:[e]\n"
                            ".                  smtp:[f]\n";

static const struct {
    const char *domain, *route; /* with the catch-all */
    bool catch_all;
    unsigned line;
} routes[] = {
    { "example.edu", "smtp a 25", false, 1 },
    { "www.example.edu", "smtp b 25", false, 2 },
    { "deep.er.example.edu", "smtp b 25", false, 2 },
    { "y.example.edu", "smtp b 25", false, 2 },          /* ".y.example.edu" is for what is below it */
    { "x.y.example.edu", "smtp c 25", false, 3 },
    { "z.y.example.edu", "smtp d 25", false, 4 },
    { "w.x.y.example.edu", "smtp d 25", false, 4 },      /* a plain key is itself only */
    { "notexample.edu", "smtp f 25", true, 7 },
    { "edu", "smtp f 25", true, 7 },
    { "old.example.org", "error 550 5.1.2 Gone", false, 5 },
    { "sub.old.example.org", "smtp f 25", true, 7 },
    { "net", "smtp f 25", true, 7 },
    { "a.net", "smtp e 25", false, 6 },
    { "example.edu.", "smtp f 25", true, 7 },            /* not canonical: no key means it */
    { ".net", "smtp f 25", true, 7 },
    { ".", "smtp f 25", true, 7 },
    { "[192.0.2.1]", "smtp f 25", true, 7 },
    { "[x.net", "smtp f 25", true, 7 },
    { "", "none", false, 0 },
};

START_TEST(longest_route_wins)
{
    char out[700];
    char without[sizeof table];
    struct policy *policy = parse(table, "", "");
    struct route route = policy_route(policy, routes[_i].domain);

    format_route(&route, out, sizeof out);
    ck_assert_str_eq(out, routes[_i].route);
    ck_assert_int_eq(route.catch_all, routes[_i].catch_all);
    ck_assert_uint_eq(route.line, routes[_i].line);
    bool top_level = routes[_i].line == 6; /* a route, but nobody's own */
    ck_assert_int_eq(policy_is_own_domain(policy, routes[_i].domain), routes[_i].line != 0 && !routes[_i].catch_all && !top_level);
    policy_free(&policy);

    /* and without a catch-all there is none */
    strcpy(without, table);
    *strstr(without, ".                  smtp:[f]") = '#';
    policy = parse(without, "", "");
    route = policy_route(policy, routes[_i].domain);
    format_route(&route, out, sizeof out);
    ck_assert_str_eq(out, routes[_i].catch_all ? "none" : routes[_i].route);
    policy_free(&policy);
}
END_TEST

static const struct {
    const char *client, *domain, *grant, *file; /* file NULL: no rule */
    unsigned line;
} decisions[] = {
    { "127.0.0.1", "anywhere.org", "inside", "networks", 1 },
    { "10.1.2.3", "anywhere.org", "inside", "networks", 2 },
    { "10.9.0.1", "anywhere.org", "outside", "networks", 3 },     /* excluded */
    { "10.9.9.9", "anywhere.org", "inside", "networks", 4 },      /* and let in again, more exactly */
    { "10.9.0.1", "example.edu", "own-domain", "local-host-names", 2 },
    { "2001:db8:1::5", "anywhere.org", "inside", "networks", 5 },
    { "2001:db8:2::5", "anywhere.org", "outside", NULL, 0 },
    { "192.0.2.1", "anywhere.org", "outside", NULL, 0 },
    { "192.0.2.1", "example.edu", "own-domain", "local-host-names", 2 },
    { "192.0.2.1", "www.example.edu", "outside", NULL, 0 },
    { "192.0.2.1", "students.example.edu", "route", "mailertable", 1 },
    { "192.0.2.1", "a.partner.org", "route", "mailertable", 2 },
    { "192.0.2.1", "partner.org", "outside", NULL, 0 },
    { "192.0.2.1", "anything.museum", "outside", NULL, 0 },       /* a route for a top-level domain is no grant */
    { "192.0.2.1", "museum", "outside", NULL, 0 },
    { "192.0.2.1", "deep.aero", "outside", NULL, 0 },
    { "10.1.2.3", "anything.museum", "inside", "networks", 2 },
    { "192.0.2.1", "gone.org", "route", "mailertable", 3 },       /* its answer is the route's error */
    { "192.0.2.1", "[10.1.2.3]", "outside", NULL, 0 },
    { "192.0.2.1", "", "outside", NULL, 0 },
    { "192.0.2.1", ".", "outside", NULL, 0 },
    { "192.0.2.1", ".partner.org", "outside", NULL, 0 },          /* a pattern is not a domain */
    { "192.0.2.1", "example.edu.anywhere.org", "outside", NULL, 0 },
    { "::ffff:10.1.2.3", "anywhere.org", "inside", "networks", 2 },
};

START_TEST(relaying_is_denied_by_default)
{
    struct netaddr client;
    struct policy *policy = parse("students.example.edu smtp:[a]\n.partner.org smtp:[b]\ngone.org error:nohost\n. smtp:[smarthost]\n.museum smtp:[c]\n.aero smtp:[d]\nmuseum smtp:[c]\n",
                                  "# ours\nEXAMPLE.edu.\n", "127.0.0.1\n10.0.0.0/8\n! 10.9.0.0/16\n10.9.9.0/24\n2001:db8:1::/48 # v6\n");

    ck_assert(netaddr_parse(&client, decisions[_i].client));
    struct relay_decision decision = policy_relay(policy, &client, false, decisions[_i].domain);
    ck_assert_str_eq(decision.grant, decisions[_i].grant);
    ck_assert_int_eq(decision.allowed, strcmp(decisions[_i].grant, "outside") != 0);
    ck_assert_int_eq(decision.file != NULL, decisions[_i].file != NULL);
    if (decision.file != NULL)
        ck_assert_str_eq(decision.file, decisions[_i].file);
    ck_assert_uint_eq(decision.line, decisions[_i].line);
    ck_assert_int_eq(policy_is_inside(policy, &client), strcmp(decision.grant, "inside") == 0);
    policy_free(&policy);
}
END_TEST

START_TEST(nothing_is_granted_by_nothing)
{
    struct policy *policy = policy_parse(NULL, 0, NULL);
    struct netaddr client;

    ck_assert(netaddr_parse(&client, "127.0.0.1"));
    ck_assert(!policy_relay(policy, &client, false, "example.edu").allowed);
    ck_assert(policy_relay(policy, &client, true, "example.edu").allowed);
    ck_assert_str_eq(policy_relay(policy, &client, true, "elsewhere.invalid").grant, "authenticated");
    ck_assert(!policy_relay(policy, &(struct netaddr){ 0 }, false, "").allowed);
    ck_assert(!policy_is_own_domain(policy, "example.edu"));
    ck_assert_int_eq(policy_route(policy, "example.edu").kind, ROUTE_NONE);
    ck_assert_ptr_null(policy_first_own_domain(policy));
    policy_free(&policy);
}
END_TEST

/* Written in one spelling, asked for in another. */
#define A_LABEL "xn--bcher-kva.edu"
#define U_LABEL "b\u00fccher.edu"

static const char *const spellings[] = { A_LABEL, U_LABEL, "B\u00dcCHER.edu", "bu\u0308cher.edu", "\uff42\u00fccher.\uff45du" };

static void gives_own(void *arg, const char *local, const char *domain)
{
    ck_assert_str_eq(local, "joe");
    ck_assert_str_eq(domain, A_LABEL);
    ++*(int *)arg;
}

START_TEST(internationalized_domains_have_one_meaning)
{
    struct netaddr outsider;
    struct error why;
    char own[100], routes_text[300], aliases[100], verify[100], below[100];
    const char *written = spellings[_i];
    snprintf(own, sizeof own, "%s\n", written);
    snprintf(routes_text, sizeof routes_text, "%s error:nouser\n.%s smtp:[mx.%s]:26\n", written, written, written);
    snprintf(aliases, sizeof aliases, "list: joe, joe@%s\n", written);
    snprintf(verify, sizeof verify, "%s\n!.%s\n.\n", written, written);
    struct policy_file files[] = { file("local-host-names", own), file("mailertable", routes_text), file("aliases", aliases), file("verify", verify) };
    struct policy *policy = policy_parse(files, 4, &why);
    ck_assert_msg(policy != NULL, "%s", why.text);
    ck_assert(netaddr_parse(&outsider, "192.0.2.1"));
    ck_assert_str_eq(policy_first_own_domain(policy), A_LABEL);

    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        const char *asked = spellings[i];
        int given = 0;
        ck_assert_int_eq(policy_route(policy, asked).kind, ROUTE_ERROR);
        snprintf(below, sizeof below, "www.%s", asked);
        struct route route = policy_route(policy, below);
        ck_assert_str_eq(route.host, "mx." A_LABEL);
        ck_assert_uint_eq(route.port, 26);
        ck_assert(policy_is_local(policy, asked) && policy_is_own_domain(policy, asked) && policy_knows_mailboxes(policy, asked));
        ck_assert(policy_is_own_domain(policy, below) && !policy_is_local(policy, below));
        ck_assert_str_eq(policy_relay(policy, &outsider, false, asked).grant, "own-domain");
        ck_assert_uint_eq(policy_alias(policy, "list", asked, gives_own, &given), 1);
        ck_assert_int_eq(given, 2);
        ck_assert_uint_eq(policy_verifies(policy, asked), 1);
        ck_assert_uint_eq(policy_verifies(policy, below), 0);
    }
    ck_assert(!policy_relay(policy, &outsider, false, "bucher.edu").allowed && !policy_relay(policy, &outsider, false, "b\u200b\u00fccher.edu").allowed);
    ck_assert(!policy_is_own_domain(policy, "www.b\u00fccher.edu\xff"));
    policy_free(&policy);
}
END_TEST

/* Both spellings of a domain, as releases needed it that took them for two. */
static const struct {
    const char *name, *text;
} repeats[] = {
    { "mailertable", "b\u00fccher.edu smtp:[mx]\n" A_LABEL " smtp:[mx]\n" },
    { "mailertable", A_LABEL ". smtp:[mx]\nb\u00fccher.edu. smtp:[MX.]:25\nB\u00dcCHER.edu esmtp:[mx]\n" },
    { "mailertable", "." U_LABEL " smtp:b\u00fccher.edu\n." A_LABEL " smtp:" A_LABEL "\n" },
    { "mailertable", U_LABEL " error:nouser\n" A_LABEL " error:5.1.1:550 User unknown\n" },
    { "mailertable", U_LABEL " discard:\n" A_LABEL " discard:\n" },
    { "local-host-names", U_LABEL "\n" A_LABEL "\n" U_LABEL "\n" },
    { "verify", U_LABEL "\n" A_LABEL "\n" },
    { "verify", "!." A_LABEL "\n!.bu\u0308cher.edu\n!." U_LABEL ".\n" },
};

START_TEST(a_domain_in_both_spellings_that_says_the_same_is_no_fault)
{
    struct policy_file both = file(repeats[_i].name, repeats[_i].text);
    struct error why = { "" };
    struct policy *policy = policy_parse(&both, 1, &why);

    ck_assert_msg(policy != NULL, "%s", why.text);
    struct route route = policy_route(policy, "www." A_LABEL);
    ck_assert(route.line <= 1); /* the first line has the say */
    route = policy_route(policy, A_LABEL);
    ck_assert(route.line <= 1 && policy_verifies(policy, A_LABEL) <= 1);
    policy_free(&policy);
}
END_TEST

static const struct {
    const char *name, *text, *why; /* NULL: nothing is doubted */
} doubts[] = {
    { "networks", "0.0.0.0/1\n128.0.0.0/1\n", "networks:1: error: 0.0.0.0/1 is no site's: inside networks have /8 and longer, or /7 and longer of IPv6" },
    { "networks", "fc00::/7\n8000::/1\n", "networks:2: error: 8000::/1 is no site's: inside networks have /8 and longer, or /7 and longer of IPv6" },
    { "networks", "192.0.2.0/24 labs\n192.0.2.0/24\n", "networks:2: error: 192.0.2.0/24 has another name in line 1" },
    { "mailertable", "b\u00fccher.edu discard:\nxn--bcher-kva.edu smtp:[a]\n", "mailertable:2: error: 'xn--bcher-kva.edu' has a route already, in line 1" },
    { "mailertable", ".xn--bcher-kva.edu smtp:[a]\n\n.b\u00fccher.edu smtp:[a]:26\n",
      "mailertable:3: error: '.xn--bcher-kva.edu' has a route already, in line 1" },
    { "mailertable", "b\u00fccher.edu error:nouser a\nxn--bcher-kva.edu error:nouser b\n",
      "mailertable:2: error: 'xn--bcher-kva.edu' has a route already, in line 1" },
    { "verify", "xn--bcher-kva.edu\n!b\u00fccher.edu\n", "verify:2: error: 'xn--bcher-kva.edu' is there already, in line 1" },
    { "verify", "!B\u00dcCHER.edu\nb\u00fccher.edu\n", "verify:2: error: 'xn--bcher-kva.edu' is there already, in line 1" },
    { "networks", "10.0.0.0/8\n!0.0.0.0/1\nfc00::/7\n192.0.2.0/24 labs\n192.0.2.0/24 labs\n", NULL },
};

/* It is used where it was stored before, and applied no more. */
START_TEST(what_cannot_be_meant)
{
    struct error why = { "" };
    struct policy_file one = file(doubts[_i].name, doubts[_i].text);
    struct policy *policy = policy_parse(&one, 1, &why);

    ck_assert_msg(policy != NULL, "%s", why.text);
    ck_assert(policy_route(policy, A_LABEL).line <= 1 && policy_verifies(policy, A_LABEL) <= 1); /* the first has the say */
    ck_assert_int_eq(policy_doubt(policy, &why), doubts[_i].why != NULL);
    ck_assert_str_eq(why.text, doubts[_i].why != NULL ? doubts[_i].why : "");
    policy_free(&policy);
}
END_TEST

START_TEST(a_byte_order_mark_is_no_letter)
{
    struct policy_file included = file("members", "\ufeffa@x.edu\n");
    struct policy_file files[] = { file("local-host-names", "\ufeffexample.edu\n"), file("networks", "\ufeff192.0.2.0/24\n"), file("verify", "\ufeff# none\n\n"),
                                   file("aliases", "\ufefflist: :include:members\n"), included };
    struct error why;
    struct policy *policy = policy_parse(files, 5, &why);

    ck_assert_msg(policy != NULL, "%s", why.text);
    ck_assert(policy_is_local(policy, "example.edu"));
    ck_assert_uint_eq(policy_alias(policy, "list", "example.edu", NULL, NULL), 1);
    policy_free(&policy);
    struct policy_file mark = file("mailertable", "\ufeff");
    policy = policy_parse(&mark, 1, &why);
    ck_assert_ptr_nonnull(policy);
    policy_free(&policy);
}
END_TEST

START_TEST(first_own_domain)
{
    struct policy *policy = parse("", "# z\n\nzebra.example.\nALPHA.example\nzebra.example\n", "");

    ck_assert_str_eq(policy_first_own_domain(policy), "zebra.example");
    ck_assert(policy_is_own_domain(policy, "alpha.example"));
    policy_free(&policy);
}
END_TEST

/* The longest network in force decides; a line has no effect from the second on in which it expires. */
static const struct {
    const char *client, *now;
    unsigned line;
    uint64_t size, recipients;
} exceptions[] = {
    { "10.1.2.3", "2026-12-31T23:59:59Z", 1, 100 << 20, 0 },
    { "10.1.2.3", "2027-01-01T00:00:00Z", 3, 0, 7 },      /* the last day is over: the network around it */
    { "10.1.2.4", "2026-06-01T12:29:59Z", 2, 1000000, 500 },
    { "10.1.2.4", "2026-06-01T12:30:00Z", 3, 0, 7 },
    { "10.1.3.4", "2026-06-01T12:00:00Z", 3, 0, 7 },
    { "10.1.3.4", "2031-01-01T00:00:00Z", 0, 0, 0 },      /* all of them are over */
    { "::ffff:10.1.2.3", "2026-01-01T00:00:00Z", 1, 100 << 20, 0 },
    { "192.0.2.1", "2026-01-01T00:00:00Z", 0, 0, 0 },
    { "2001:db8::1", "2026-01-01T00:00:00Z", 4, 1024, 100000 },
};

static const struct {
    const char *domain;
    unsigned line, line_with_all;
} verified[] = {
    { "example.edu", 1, 1 },        { "a.example.edu", 2, 2 },   { "guests.example.edu", 0, 0 }, { "b.guests.example.edu", 2, 2 },
    { "other.example", 0, 4 },      { "[192.0.2.1]", 0, 0 },     { "", 0, 0 },
};

/* S75: whether postmaster and abuse have a place to go. */
static const struct {
    const char *own, *table, *aliases, *warning;
} role_places[] = {
    { "", "", "", NULL },
    { "# ours\na.edu\n", "", "joe: joe@b.edu\n", "local-host-names:2: warning: mail to postmaster@a.edu is answered 451 4.3.5: add a line postmaster: you@there.a.edu to aliases, or "
                                                 "a route for a.edu to mailertable" },
    { "a.edu\n", "a.edu error:5.1.1:550 gone\n", "", "local-host-names:1: warning: " },
    { "a.edu\nb.edu\n", "b.edu smtp:[b.edu]\n", "abuse: joe@b.edu\n", "local-host-names:1: warning: " },
    { "a.edu\n", "a.edu smtp:[a.edu]\n", "", NULL },
    { "a.edu\n", ". smtp:[a.edu]\n", "", NULL },
    { "a.edu\n", "a.edu discard:\n", "", NULL },
    { "a.edu\n", "", "Postmaster: joe@b.edu\n", NULL },
};

START_TEST(s75_a_postmaster_without_a_place_is_told)
{
    const char *own = role_places[_i].own, *routes_text = role_places[_i].table, *names = role_places[_i].aliases;
    const struct policy_file files[] = { { "local-host-names", own, strlen(own) }, { "mailertable", routes_text, strlen(routes_text) }, { "aliases", names, strlen(names) } };
    struct error why = { "" };
    struct policy *policy = policy_parse(files, 3, &why);
    ck_assert_msg(policy != NULL, "%s", why.text);
    ck_assert_int_eq(policy_warns(policy, &why), role_places[_i].warning != NULL);
    if (role_places[_i].warning != NULL)
        ck_assert_msg(strncmp(why.text, role_places[_i].warning, strlen(role_places[_i].warning)) == 0, "%s", why.text);
    policy_free(&policy);
}
END_TEST

/* S49: an address that is refused costs its alias a report for each message, or all mail. */
static const struct {
    const char *table, *aliases, *warning;
} refused_targets[] = {
    { "a.edu smtp:[a.edu]\n", "team: ann, bob@a.edu, carl@elsewhere.test\n", NULL },
    { "", "team: ann@b.edu, bob@hole.test\nann: ann@b.edu\n", NULL },
    { "b.edu discard:\n", "team: ann@b.edu, bob@b.edu\n", NULL },
    { "b.edu error:5.1.1:550 gone\n", "team: ann@b.edu, bob@b.edu\n",
      "aliases:1: warning: 'team' stands for <ann@b.edu>, which is refused (gone), as all others are: so is all mail to team: 2 of its 2 addresses are to be taken out" },
    { "b.edu error:5.1.1:550 gone\n", "old: ann@b.edu\n", NULL }, /* refused alone, as it is meant */
    { "b.edu error:5.1.1:550 gone\n", "# ours\nteam: ann@c.edu, old, bob@b.edu\nold: joe@b.edu\n",
      "aliases:2: warning: 'team' stands for <joe@b.edu>, which is refused (gone), and each message to it returns a report to its sender or to owner-team: 2 of its 3 addresses are to be taken out, or need a route" },
    { "", "ann: ann@b.edu\nteam: ann, bbo\n", "aliases:2: warning: 'team' stands for <bbo@a.edu>, which is refused (its domain has no route, and it is no alias)" },
    { "a.edu smtp:[a.edu]\n", "team: ann@b.edu, :include:more\n", NULL },
    { "c.edu error:4.3.0:450 later\n", "team: ann@b.edu, :include:more\n", "aliases:1: warning: 'team' stands for <x@c.edu>, which is refused (later)" },
};

START_TEST(s49_an_alias_that_is_refused_for_one_address_is_told)
{
    struct policy_file files[] = { file("local-host-names", "a.edu\n"), file("mailertable", refused_targets[_i].table), file("aliases", refused_targets[_i].aliases),
                                   file("more", "x@c.edu\n") };
    struct error why = { "" };
    const char *warning = refused_targets[_i].warning;
    struct policy *policy = policy_parse(files, strstr(refused_targets[_i].aliases, ":include:") != NULL ? 4 : 3, &why);
    ck_assert_msg(policy != NULL, "%s", why.text);
    ck_assert_int_eq(policy_warns_of_aliases(policy, &why), warning != NULL);
    if (warning != NULL)
        ck_assert_msg(strncmp(why.text, warning, strlen(warning)) == 0, "%s", why.text);
    policy_free(&policy);
}
END_TEST

static const struct {
    const char *limits, *warning;
} claimed[] = {
    { "inbound client messages 1/day\noutbound domain messages 1/day\n", NULL },
    { "inbound domain messages 1/day dry_run\n", NULL },
    { "inbound prefix bytes 1/day\ninbound domain recipients 1/day\ninbound domain messages 1/day\n", "limits:2: warning: inbound domain: the sender's domain is a stranger's word" },
};

START_TEST(a_limit_by_what_strangers_claim_is_told)
{
    struct policy_file limits = file("limits", claimed[_i].limits);
    struct error why = { "" };
    struct policy *policy = policy_parse(&limits, 1, &why);
    ck_assert_msg(policy != NULL, "%s", why.text);
    ck_assert_int_eq(policy_warns_of_limits(policy, &why), claimed[_i].warning != NULL);
    if (claimed[_i].warning != NULL)
        ck_assert_msg(strncmp(why.text, claimed[_i].warning, strlen(claimed[_i].warning)) == 0, "%s", why.text);
    policy_free(&policy);
}
END_TEST

START_TEST(verified_domains)
{
    struct policy_file some = file("verify", "Example.EDU.\n.example.edu\n!guests.example.edu\n");
    struct policy_file all = file("verify", "example.edu\n.example.edu\n!guests.example.edu\n.\n"), none = file("networks", "");
    struct error why;
    struct policy *policy = policy_parse(&some, 1, &why);

    for (size_t i = 0; i < sizeof verified / sizeof *verified; i++)
        ck_assert_msg(policy_verifies(policy, verified[i].domain) == verified[i].line, "%s", verified[i].domain);
    policy_free(&policy);
    policy = policy_parse(&all, 1, &why);
    for (size_t i = 0; i < sizeof verified / sizeof *verified; i++)
        ck_assert_msg(policy_verifies(policy, verified[i].domain) == verified[i].line_with_all, "%s", verified[i].domain);
    policy_free(&policy);
    policy = policy_parse(&none, 1, &why);
    ck_assert_uint_eq(policy_verifies(policy, "example.edu"), 0);
    policy_free(&policy);
}
END_TEST

START_TEST(s60_exceptions_hold_until_they_expire)
{
    struct policy_file one = file("exceptions", "10.1.2.3 max_message_size=100MiB reason=\"the archive's # scans\" owner=lib approved_by=\"A, B\" expires=2026-12-31\n"
                                                "10.1.2.0/24 max_message_size=1MB max_recipients=500 reason=r owner=o approved_by=a\n  expires=2026-06-01T12:30:00Z # half a day\n"
                                                "10.0.0.0/8 max_recipients=7 reason=r owner=o approved_by=a expires=2030-12-31\n"
                                                "::/0 max_message_size=1KiB max_recipients=100000 " SIGNED "\n");
    struct error why = { "" };
    struct policy *policy = policy_parse(&one, 1, &why);
    struct netaddr client;
    struct tm tm = { 0 };

    ck_assert_msg(policy != NULL, "%s", why.text);
    ck_assert(netaddr_parse(&client, exceptions[_i].client));
    ck_assert_ptr_nonnull(strptime(exceptions[_i].now, "%Y-%m-%dT%H:%M:%SZ", &tm));
    const struct exception *exception = policy_exception(policy, &client, timegm(&tm));
    ck_assert_int_eq(exception != NULL, exceptions[_i].line > 0);
    if (exception != NULL) {
        /* the second takes two lines of the file */
        ck_assert_uint_eq(exception->line, exceptions[_i].line + (exceptions[_i].line > 2));
        ck_assert_uint_eq(exception->max_message_size, exceptions[_i].size);
        ck_assert_uint_eq(exception->max_recipients, exceptions[_i].recipients);
    }
    ck_assert_str_eq(policy_exception_at(policy, 0)->reason, "the archive's # scans");
    ck_assert_str_eq(policy_exception_at(policy, 0)->approved_by, "A, B");
    ck_assert_str_eq(policy_exception_at(policy, 0)->owner, "lib");
    ck_assert_ptr_nonnull(policy_exception_at(policy, 3));
    ck_assert_ptr_null(policy_exception_at(policy, 4));
    policy_free(&policy);
}
END_TEST

/* Whom a name in own.edu stands for. */
static const struct {
    const char *name, *domain, *addresses;
    unsigned line;
} expansions[] = {
    { "sysadm", "own.edu", "sysadm@forth.example.edu", 1 },
    { "SysAdm", "own.edu", "sysadm@forth.example.edu", 1 },
    { "sysadm", "two.edu", "sysadm@forth.example.edu", 1 },
    { "sysadm", "route.edu", "", 0 }, /* not an own domain: its mailboxes are its next hop's */
    { "nobody", "own.edu", "", 0 },
    { "mr x", "own.edu", "frank@own.edu", 2 },
    { "many", "own.edu", "sysadm@forth.example.edu Carl@own.edu dee@two.edu", 3 },
    { "many", "two.edu", "sysadm@forth.example.edu Carl@two.edu dee@two.edu", 3 },
    { "other", "own.edu", "Carl@two.edu", 5 },
    { "carl", "own.edu", "", 0 },
    { "list", "own.edu", "a@x.edu b@x.edu c@x.edu sysadm@forth.example.edu", 6 },
    { "both", "own.edu", "a@x.edu b@x.edu c@x.edu sysadm@forth.example.edu q@x.edu a@x.edu b@x.edu c@x.edu sysadm@forth.example.edu", 7 },
    { "self", "own.edu", "self@own.edu me@x.edu", 8 },
    { "joe", "two.edu", "Joe@own.edu sue@two.edu", 10 }, /* its own name is the mailbox */
};

static void add_address(void *arg, const char *local, const char *domain)
{
    char *text = arg;
    sprintf(text + strlen(text), "%s%s@%s", *text != '\0' ? " " : "", local, domain);
}

START_TEST(s48_s49_aliases)
{
    struct policy_file files[] = {
        file("members", "# of the list\na@x.edu, b@x.edu\nc@X.edu # a comment\nsysadm\n"),
        file("aliases", "sysadm: sysadm@forth.example.edu\n\"Mr X\" : \\frank\nmany: sysadm,\n  Carl, dee@two.edu\nother: foo@two.edu\nlist: :include:members\n"
                        "both: list, q@x.edu, :include:members\nself: \\self, me@x.edu\nfoo: \"Carl\"\njoe: Joe@own.edu, sue\n"),
        file("local-host-names", "own.edu\ntwo.edu\n"),
        file("mailertable", "route.edu smtp:[x]\n"),
    };
    struct error why = { "" };
    struct policy *policy = policy_parse(files, 4, &why);
    char out[1000] = "", names[4][POLICY_NAME_MAX + 1];

    ck_assert_msg(policy != NULL, "%s", why.text);
    ck_assert_uint_eq(policy_alias(policy, expansions[_i].name, expansions[_i].domain, add_address, out), expansions[_i].line);
    ck_assert_str_eq(out, expansions[_i].addresses);
    ck_assert(policy_knows_mailboxes(policy, "own.edu") && !policy_knows_mailboxes(policy, "route.edu"));
    policy_free(&policy);
    ck_assert_uint_eq(policy_included(&files[1], names, 4), 1);
    ck_assert_str_eq(names[0], "members");
    struct policy_file asks = file("aliases", "a: b:include\nlist: :Include:staff\n"), asks_none = file("aliases", "a: b@x.edu\nb: c # :includ");
    ck_assert_uint_eq(policy_included(&asks, names, 4), 0); /* its first line is none */
    asks.text += strlen("a: b:include\n"), asks.len -= strlen("a: b:include\n");
    ck_assert_uint_eq(policy_included(&asks, names, 4), 1);
    ck_assert_str_eq(names[0], "staff");
    ck_assert_uint_eq(policy_included(&asks_none, names, 4), 0);
    files[0] = file("members", "a@x.edu\n:include:more\n");
    ck_assert_ptr_null(policy_parse(files, 4, &why));
    ck_assert_str_eq(why.text, "members:2: error: ':include:more': an included file has addresses only");
    files[0] = file("members", "# nobody\n");
    ck_assert_ptr_null(policy_parse(files, 4, &why));
    ck_assert_str_eq(why.text, "aliases:6: error: 'list' stands for nobody: what it includes is empty");
    files[0] = file("member", "a@x.edu\n");
    ck_assert_ptr_null(policy_parse(files, 4, &why));
    ck_assert(strstr(why.text, "member: error: not a policy file") == why.text);
}
END_TEST

/* Whom a name in own.edu stands for when names may have tags, and what that alias is called. */
static const struct {
    const char *delimiters, *name, *addresses, *alias;
} tagged[] = {
    { "+\n", "one", "a@x.edu", "one" },
    { "+\n", "One+News", "a@x.edu", "one" }, /* the tag is dropped, as aliases(5) does */
    { "+\n", "one+a+b", "a@x.edu", "one" },
    { "+\n", "one+", "a@x.edu", "one" },
    { "+\n", "one+Exact", "b@x.edu", "one+exact" },
    { "+\n", "one+exact+more", "a@x.edu", "one" }, /* split at the first */
    { "+\n", "+one", "", NULL },
    { "+\n", "none+x", "", NULL },
    { "+\n", "one-news", "", NULL },
    { "+\n", "to", "a@x.edu", "to" }, /* also of a target */
    { "+\n", "self", "self+inbox@own.edu", "self" }, /* the mailbox, as without a tag */
    { "+\n", "owner-list+x", "c@x.edu", "owner-list" },
    { "+-\n", "one-news", "a@x.edu", "one" },
    { "+-\n", "one-news+x", "a@x.edu", "one" },
    { "+-\n", "owner-list", "c@x.edu", "owner-list" },
    { "+-\n", "owner-nobody", "", NULL },  /* no tag of the alias owner */
    { "+-\n", "list-request", "", NULL },
    { "+-\n", "-request", "", NULL },
    { "+-\n", "Mailer-Daemon", "", NULL },
    { "+-\n", "mailer-news", "d@x.edu", "mailer" },
    { "# none\n", "one+news", "", NULL },
    { "# none\n", "one+exact", "b@x.edu", "one+exact" },
};

START_TEST(s48_aliases_with_tags)
{
    struct policy_file files[] = {
        file("aliases", "one: a@x.edu\none+exact: b@x.edu\nto: one+to\nself: self+inbox\nowner-list: c@x.edu\nlist: c@x.edu\nowner: o@x.edu\nmailer: d@x.edu\n"),
        file("local-host-names", "own.edu\n"),
        { "recipient_delimiter", tagged[_i].delimiters, strlen(tagged[_i].delimiters) },
    };
    struct error why = { "" };
    struct policy *policy = policy_parse(files, 3, &why);
    char out[1000] = "";

    ck_assert_msg(policy != NULL, "%s", why.text);
    ck_assert_int_eq(policy_alias(policy, tagged[_i].name, "own.edu", add_address, out) > 0, tagged[_i].alias != NULL);
    ck_assert_str_eq(out, tagged[_i].addresses);
    const char *alias = policy_alias_name(policy, tagged[_i].name, "own.edu");
    ck_assert_str_eq(alias != NULL ? alias : "", tagged[_i].alias != NULL ? tagged[_i].alias : "");
    ck_assert_ptr_null(policy_alias_name(policy, tagged[_i].name, "x.edu"));
    policy_free(&policy);
}
END_TEST

/* With a tag it is the same alias, and leads back to it. The order of the files does not count. */
START_TEST(s49_loops_of_tags)
{
    struct policy_file files[] = { file("aliases", "a: b+x\nb: a+y, c@x.edu\n"), file("local-host-names", "own.edu\n"), file("recipient_delimiter", "+\n") };
    struct error why;
    struct policy *policy = policy_parse(files, 2, &why);

    ck_assert_ptr_nonnull(policy);
    policy_free(&policy);
    ck_assert_ptr_null(policy_parse(files, 3, &why));
    ck_assert_str_eq(why.text, "aliases:1: error: 'a' leads back to itself: where it means a mailbox of that name, write \\a");
}
END_TEST

/* As deep and as large as allowed, and one more. */
START_TEST(s49_limits_of_aliases)
{
    char *text = malloc(1 << 16);
    struct error why = { "" };

    for (int more = 0; more < 2; more++) {
        size_t used = 0;
        for (int i = 0; i < ALIAS_DEPTH_MAX + more; i++)
            used += (size_t)sprintf(text + used, "a%d: a%d\n", i, i + 1);
        used += (size_t)sprintf(text + used, "a%d: x@y.edu\n", ALIAS_DEPTH_MAX + more);
        struct policy_file one = file("aliases", text);
        struct policy *policy = policy_parse(&one, 1, &why);
        ck_assert_msg((policy == NULL) == (more == 1), "%s", why.text);
        policy_free(&policy);
        used = (size_t)sprintf(text, "all: x");
        for (int i = 1; i < ALIAS_TARGETS_MAX + more; i++)
            used += (size_t)sprintf(text + used, ",\n x%d@y.edu", i);
        sprintf(text + used, "\n");
        one = file("aliases", text);
        policy = policy_parse(&one, 1, &why);
        ck_assert_msg((policy == NULL) == (more == 1), "%s", why.text);
        policy_free(&policy);
    }
    ck_assert_str_eq(why.text, "aliases:1: error: 'all' stands for more than 1000 addresses");
    free(text);
}
END_TEST

START_TEST(networks_have_names)
{
    struct netaddr client;
    struct policy *policy = parse("", "", "10.0.0.0/8 campus\n!10.9.0.0/16\tguests.wifi # not them\n10.9.9.0/24\n");

    ck_assert(netaddr_parse(&client, "10.1.1.1"));
    ck_assert_str_eq(policy_network(policy, &client)->name, "campus");
    ck_assert(netaddr_parse(&client, "10.9.1.1"));
    ck_assert_str_eq(policy_network(policy, &client)->name, "guests.wifi");
    ck_assert(policy_network(policy, &client)->excluded && !policy_is_inside(policy, &client));
    ck_assert(netaddr_parse(&client, "10.9.9.9"));
    ck_assert_ptr_null(policy_network(policy, &client)->name);
    ck_assert(netaddr_parse(&client, "192.0.2.1"));
    ck_assert_ptr_null(policy_network(policy, &client));
    policy_free(&policy);
}
END_TEST

/* The networks' search against the plain way: look at every rule. */
START_TEST(networks_agree_with_a_linear_search)
{
    enum { RULES = 400 };
    struct netaddr_prefix prefixes[RULES];
    bool excluded[RULES];
    char *text = malloc(RULES * 80), address[NETADDR_TEXT_MAX];
    size_t used = 0, count = 0;
    unsigned seed = 7;

    while (count < RULES) {
        /* few different bytes, so that prefixes nest */
        struct netaddr_prefix prefix = { 0 };
        prefix.address.family = rand_r(&seed) % 2 ? AF_INET : AF_INET6;
        prefix.bits = (uint8_t)(1 + rand_r(&seed) % 32);
        for (unsigned bit = 0; bit < prefix.bits; bit++)
            if (rand_r(&seed) % 8 == 0)
                prefix.address.bytes[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
        bool known = false;
        for (size_t i = 0; i < count; i++)
            known |= prefixes[i].bits == prefix.bits && netaddr_equal(&prefixes[i].address, &prefix.address);
        if (known)
            continue;
        prefixes[count] = prefix;
        excluded[count] = rand_r(&seed) % 3 == 0;
        used += (size_t)sprintf(text + used, "%s%s/%u\n", excluded[count] ? "!" : "", netaddr_format(&prefix.address, address), prefix.bits);
        count++;
    }
    struct policy *policy = parse("", "", text);
    for (int round = 0; round < 20000; round++) {
        struct netaddr client = { .family = rand_r(&seed) % 2 ? AF_INET : AF_INET6 };
        for (unsigned bit = 0; bit < (client.family == AF_INET ? 32 : 128); bit++)
            if (rand_r(&seed) % 8 == 0)
                client.bytes[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
        int best = -1;
        for (size_t i = 0; i < count; i++)
            if (netaddr_prefix_contains(&prefixes[i], &client) && (best < 0 || prefixes[i].bits > prefixes[best].bits))
                best = (int)i;
        ck_assert_int_eq(policy_is_inside(policy, &client), best >= 0 && !excluded[best]);
        if (best >= 0)
            ck_assert_uint_eq(policy_relay(policy, &client, false, "x").line, (unsigned)best + 1);
    }
    policy_free(&policy);
    free(text);
}
END_TEST

/* 100,000 lines in each file. A quadratic step anywhere would take minutes; the limit is generous for slow sanitizer builds. */
START_TEST(large_files_are_fast)
{
    enum { LINES = 100000 };
    char *mailertable = malloc(LINES * 64), *own = malloc(LINES * 32), *networks = malloc(LINES * 32), domain[64];
    size_t a = 0, b = 0, c = 0;

    for (unsigned i = 0; i < LINES; i++) {
        a += (size_t)sprintf(mailertable + a, "%sdept%u.example.edu\tsmtp:[mx%u.example.edu]:2525\n", i % 2 ? "." : "", i, i % 7);
        b += (size_t)sprintf(own + b, "host%u.example.org\n", i);
        c += (size_t)sprintf(networks + c, "%s10.%u.%u.%u/%u\n", i % 5 ? "" : "!", i >> 16 & 255, i >> 8 & 255, i & 255, 32);
    }
    clock_t start = clock();
    struct policy *policy = parse(mailertable, own, networks);
    for (unsigned i = 0; i < LINES; i++) {
        sprintf(domain, "%sdept%u.example.edu", i % 2 ? "a.b." : "", i);
        struct route route = policy_route(policy, domain);
        if (route.line != i + 1) /* not ck_assert, which tells its parent process of each success: that would be most of the work */
            ck_abort_msg("route %u is of line %u", i, (unsigned)route.line);
        sprintf(domain, "host%u.example.org", i);
        struct netaddr client = { .family = AF_INET, .bytes = { 10, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i } };
        struct relay_decision decision = policy_relay(policy, &client, false, domain);
        if (!decision.allowed || strcmp(decision.grant, i % 5 ? "inside" : "own-domain") != 0 || decision.line != i + 1)
            ck_abort_msg("%u is %sallowed as %s by line %u", i, decision.allowed ? "" : "not ", decision.grant, (unsigned)decision.line);
    }
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    ck_assert_msg(seconds < 3, "%.2f s", seconds);
    policy_free(&policy);
    free(mailertable);
    free(own);
    free(networks);
}
END_TEST

/* "direction by what amount/ms burst dry" of each line, and the bucket of a client in a line of networks. */
START_TEST(s26_limits)
{
    static const char text[] = "inbound client connections 60/min # comment\nsubmission account recipients 500/hour burst 1000 dry_run\n"
                               "handoff host bytes 1GiB/day refuse\noutbound domain messages 5/s\n  burst 7\n";
    static const char *const want[] = { "0 0 0 60/60000 60 0 1 inbound client connections/60 x", "2 3 2 500/3600000 1000 1 2 submission account recipients/3600 x",
                                        "3 2 3 1073741824/86400000 1073741824 0 3 handoff host bytes/86400 x", "1 4 1 5/1000 7 0 4 outbound domain messages/1 x" };
    static const struct {
        const char *client;
        enum limit_by by;
        const char *subject;
    } subjects[] = {
        { "192.0.2.77", LIMIT_BY_CLIENT, "192.0.2.77" },      { "192.0.2.77", LIMIT_BY_PREFIX, "192.0.2.0/24" },
        { "192.0.2.77", LIMIT_BY_HOST, "192.0.2.64/26" },     { "192.0.2.1", LIMIT_BY_HOST, NULL },
        { "192.0.2.65", LIMIT_BY_HOST, NULL },                { "2001:db8:1:2:3::4", LIMIT_BY_CLIENT, "2001:db8:1:2::/64" },
        { "2001:db8:1:2:3::4", LIMIT_BY_PREFIX, "2001:db8:1::/48" }, { "192.0.2.77", LIMIT_BY_ACCOUNT, NULL },
    };
    struct policy_file files[] = { file("limits", text), file("networks", "192.0.2.64/26 printers\n!192.0.2.65\n") };
    struct error why = { "" };
    struct policy *policy = policy_parse(files, 2, &why);
    char bucket[LIMIT_BUCKET_MAX], subject[LIMIT_SUBJECT_MAX];
    ck_assert_msg(policy != NULL, "%s", why.text);
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        const struct limit_rule *rule = policy_limit_at(policy, i);
        char said[200];
        snprintf(said, sizeof said, "%d %d %d %llu/%llu %llu %d %u %s", rule->direction, rule->by, rule->what, (unsigned long long)rule->rate.amount,
                 (unsigned long long)rule->rate.period_ms, (unsigned long long)rule->rate.burst, rule->dry_run, rule->line, limit_bucket_name(bucket, rule, "x"));
        ck_assert_str_eq(said, want[i]);
    }
    ck_assert_ptr_null(policy_limit_at(policy, 4));
    for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++) {
        struct netaddr client;
        ck_assert(netaddr_parse(&client, subjects[i].client));
        bool has = limit_subject_of_client(subject, subjects[i].by, &client, policy_network(policy, &client));
        ck_assert_msg(has == (subjects[i].subject != NULL), "%s", subjects[i].client);
        ck_assert_str_eq(has ? subject : "", has ? subjects[i].subject : "");
    }
    policy_free(&policy);
}
END_TEST

/* Whose bucket, by which rate: of exceptions and of the register. */
static const struct {
    const char *client, *login;
    enum limit_by by;
    const char *now, *subject;
    unsigned amount; /* of 100; 0: as much as he likes */
} limited_parties[] = {
    { "192.0.2.7", NULL, LIMIT_BY_CLIENT, "2026-11-01T00:00:00Z", "192.0.2.7", 1000 },
    { "192.0.2.7", NULL, LIMIT_BY_CLIENT, "2027-01-01T00:00:00Z", "192.0.2.7", 100 }, /* expired */
    { "192.0.2.7", NULL, LIMIT_BY_PREFIX, "2026-11-01T00:00:00Z", "192.0.2.7/32", 1000 }, /* his own, not his neighbours' */
    { "192.0.2.7", NULL, LIMIT_BY_HOST, "2026-11-01T00:00:00Z", "192.0.2.7/32", 1000 },
    { "192.0.2.8", NULL, LIMIT_BY_HOST, "2026-11-01T00:00:00Z", "192.0.2.0/25", 100 },
    { "192.0.2.7", NULL, LIMIT_BY_REGISTERED, "2026-11-01T00:00:00Z", "192.0.2.7/32", 1000 },
    { "192.0.2.8", NULL, LIMIT_BY_REGISTERED, "2026-11-01T00:00:00Z", "192.0.2.0/28", 100 },
    { "192.0.2.8", NULL, LIMIT_BY_UNREGISTERED, "2026-11-01T00:00:00Z", NULL, 0 },
    { "192.0.2.77", NULL, LIMIT_BY_REGISTERED, "2026-11-01T00:00:00Z", NULL, 0 },
    { "192.0.2.77", NULL, LIMIT_BY_UNREGISTERED, "2026-11-01T00:00:00Z", "192.0.2.77", 100 },
    { "192.0.2.8", NULL, LIMIT_BY_UNREGISTERED, "2027-01-01T00:00:00Z", "192.0.2.8", 100 }, /* no longer registered */
    { "192.0.2.200", NULL, LIMIT_BY_UNREGISTERED, "2026-11-01T00:00:00Z", NULL, 0 },        /* outside */
    { "2001:db8::7", NULL, LIMIT_BY_CLIENT, "2026-11-01T00:00:00Z", "2001:db8::7/128", 300 },
    { "2001:db8::9", NULL, LIMIT_BY_CLIENT, "2026-11-01T00:00:00Z", "2001:db8::9/128", 300 }, /* each his own, by the same factor, too */
    { "2001:db8::9", NULL, LIMIT_BY_CLIENT, "2027-01-01T00:00:00Z", "2001:db8::/64", 100 },
    { "2001:db8:1:2::3", NULL, LIMIT_BY_CLIENT, "2026-11-01T00:00:00Z", "2001:db8:1:2::/64", 200 }, /* as many of his as of the line */
    { "2001:db8::8", NULL, LIMIT_BY_CLIENT, "2026-11-01T00:00:00Z", "2001:db8::/64", 100 },
    { "198.51.100.7", NULL, LIMIT_BY_PREFIX, "2026-11-01T00:00:00Z", "198.51.100.0/24", 0 }, /* though he has a line of his own, about something else */
    { "198.51.100.9", NULL, LIMIT_BY_CLIENT, "2026-11-01T00:00:00Z", "198.51.100.9", 0 },
    { "198.51.100.9", NULL, LIMIT_BY_PREFIX, "2026-11-01T00:00:00Z", "198.51.100.0/24", 0 }, /* all of it is excepted */
    { "192.0.2.7", "joe", LIMIT_BY_ACCOUNT, "2026-11-01T00:00:00Z", "joe", 500 },
    { "192.0.2.7", "joe", LIMIT_BY_ACCOUNT, "2027-01-01T00:00:00Z", "joe", 100 },
    { "192.0.2.7", "ann", LIMIT_BY_ACCOUNT, "2026-11-01T00:00:00Z", "ann", 100 },
    { "192.0.2.7", NULL, LIMIT_BY_DOMAIN, "2026-11-01T00:00:00Z", "b.test", 100 },
};

START_TEST(s26_limits_of_exceptions_and_of_the_register)
{
    struct policy_file files[] = {
        file("networks", "192.0.2.0/25 campus\n"),
        file("hosts", "192.0.2.0/28 owner=o reason=r expires=2026-12-31\n"),
        file("exceptions", "192.0.2.7 limits=10x " SIGNED "\n198.51.100.0/24 limits=none " SIGNED "\n198.51.100.7 max_recipients=9 " SIGNED "\n2001:db8::7 limits=3x " SIGNED "\n2001:db8::9 limits=3x " SIGNED "\n2001:db8:1::/48 limits=2x " SIGNED "\naccount:Joe limits=5x " SIGNED "\n"),
    };
    struct error why = { "" };
    struct policy *policy = policy_parse(files, 3, &why);
    struct limit_rule line = { .by = limited_parties[_i].by, .rate = { 100, 1000, BUCKET_AMOUNT_MAX } }, rule;
    char subject[LIMIT_SUBJECT_MAX];
    const struct exception *excepted;
    struct netaddr client;
    struct tm tm = { 0 };
    ck_assert_msg(policy != NULL, "%s", why.text);
    ck_assert(netaddr_parse(&client, limited_parties[_i].client));
    ck_assert_ptr_nonnull(strptime(limited_parties[_i].now, "%Y-%m-%dT%H:%M:%SZ", &tm));
    struct limit_party party = { &client, limited_parties[_i].login, "b.test", timegm(&tm) };
    bool has = limit_subject(subject, &excepted, policy, limited_parties[_i].by, &party);
    ck_assert_int_eq(has, limited_parties[_i].subject != NULL);
    if (has) {
        ck_assert_str_eq(subject, limited_parties[_i].subject);
        ck_assert_int_eq(limit_for(&rule, &line, excepted), limited_parties[_i].amount > 0);
        if (limited_parties[_i].amount > 0) {
            char bucket[LIMIT_BUCKET_MAX], times[16] = "", want[LIMIT_BUCKET_MAX];
            if (limited_parties[_i].amount > 100) /* no two rates in one bucket */
                snprintf(times, sizeof times, "x%u", limited_parties[_i].amount / 100);
            snprintf(want, sizeof want, "inbound %s connections/1%s %.100s", limit_by_name(line.by), times, subject);
            ck_assert_str_eq(limit_bucket_name(bucket, &rule, subject), want);
        }
        ck_assert(limited_parties[_i].amount == 0 || (rule.rate.amount == limited_parties[_i].amount && rule.rate.burst == BUCKET_AMOUNT_MAX));
    }
    policy_free(&policy);
}
END_TEST

START_TEST(s66_registered_hosts)
{
    static const struct {
        const char *client, *owner;
    } asked[] = {
        { "192.0.2.7", "library" }, { "192.0.2.70", "printing" }, { "192.0.2.65", "the east wing" }, { "192.0.2.8", NULL },
        { "2001:db8::1", "archive" }, { "2001:db8:1::1", NULL }, { "::ffff:192.0.2.7", "library" },
    };
    const char *text = "192.0.2.7 owner=library reason=\"the catalogue\"\n192.0.2.64/28 owner=printing reason=printers\n"
                       "192.0.2.65 owner=\"the east wing\" reason=\"one of them\"\n2001:db8::/64 reason=scans owner=archive\n";
    struct policy_file files[] = { file("hosts", text), file("networks", "192.0.2.0/24\n") };
    struct error why;
    struct policy *policy = policy_parse(files, 2, &why);
    ck_assert_msg(policy != NULL, "%s", why.text);
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        struct netaddr client;
        ck_assert(netaddr_parse(&client, asked[i].client));
        const struct registered_host *host = policy_host(policy, &client, 0);
        ck_assert_pstr_eq(host != NULL ? host->owner : NULL, asked[i].owner);
    }
    ck_assert_str_eq(policy_host_at(policy, 3)->reason, "scans");
    ck_assert_ptr_null(policy_host_at(policy, 4));
    ck_assert(policy_warns_of_hosts(policy, &why));
    ck_assert_str_eq(why.text, "hosts:4: warning: 2001:db8::/64 is registered and not inside: a line of networks lets it send");
    policy_free(&policy);
}
END_TEST

START_TEST(s60_registrations_end)
{
    static const struct {
        const char *client;
        int64_t now;
        const char *owner;
    } asked[] = {
        { "192.0.2.65", 86399, "guest" }, { "192.0.2.65", 86400, "printing" }, /* the line around it decides then */
        { "192.0.2.7", 64799, "library" }, { "192.0.2.7", 64800, NULL }, { "192.0.2.70", INT64_MAX - 1, "printing" },
    };
    struct policy_file files[] = { file("hosts", "192.0.2.7 owner=library reason=r approved_by=\"the head\" expires=1970-01-01T18:00:00Z\n192.0.2.64/28 owner=printing reason=r\n"
                                                 "192.0.2.65 owner=guest reason=r expires=1970-01-01\n") };
    struct error why;
    struct policy *policy = policy_parse(files, 1, &why);
    ck_assert_msg(policy != NULL, "%s", why.text);
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        struct netaddr client;
        ck_assert(netaddr_parse(&client, asked[i].client));
        const struct registered_host *host = policy_host(policy, &client, asked[i].now);
        ck_assert_pstr_eq(host != NULL ? host->owner : NULL, asked[i].owner);
    }
    ck_assert_str_eq(policy_host_at(policy, 0)->approved_by, "the head");
    ck_assert_ptr_null(policy_host_at(policy, 1)->approved_by);
    policy_free(&policy);
}
END_TEST

START_TEST(limits_are_not_too_many)
{
    char text[LIMITS_MOST * 64] = "", *end = text;
    static const char *const directions[] = { "outbound", "submission", "handoff" }, *const parties[] = { "client", "prefix", "host", "account", "domain" },
                             *const times[] = { "s", "min", "h", "d" };
    unsigned lines = 0;
    struct error why = { "" };
    for (unsigned i = 0; i < 60; i++, lines++) /* 60 and 5 */
        end += sprintf(end, "%s %s messages 1/%s dry_run\n", directions[i / 20], parties[i / 4 % 5], times[i % 4]);
    for (unsigned i = 0; i < 5; i++, lines++)
        end += sprintf(end, "outbound %s bytes 1/s\n", parties[i]);
    ck_assert_uint_eq(lines, LIMITS_MOST + 1);
    struct policy_file one = file("limits", text);
    ck_assert_ptr_null(policy_parse(&one, 1, &why));
    ck_assert_str_eq(why.text, "limits:65: error: more than 64 limits");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("policy");
    TCase *tests = tcase_create("policy");

    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, mailer_values, 0, sizeof values / sizeof values[0]);
    tcase_add_loop_test(tests, errors_say_what_is_right, 0, sizeof errors / sizeof errors[0]);
    tcase_add_test(tests, limits_of_lines);
    tcase_add_loop_test(tests, longest_route_wins, 0, sizeof routes / sizeof routes[0]);
    tcase_add_loop_test(tests, relaying_is_denied_by_default, 0, sizeof decisions / sizeof decisions[0]);
    tcase_add_test(tests, nothing_is_granted_by_nothing);
    tcase_add_loop_test(tests, a_domain_in_both_spellings_that_says_the_same_is_no_fault, 0, sizeof repeats / sizeof *repeats);
    tcase_add_loop_test(tests, internationalized_domains_have_one_meaning, 0, sizeof spellings / sizeof *spellings);
    tcase_add_loop_test(tests, what_cannot_be_meant, 0, (int)(sizeof doubts / sizeof *doubts));
    tcase_add_test(tests, a_byte_order_mark_is_no_letter);
    tcase_add_test(tests, first_own_domain);
    tcase_add_test(tests, verified_domains);
    tcase_add_loop_test(tests, s75_a_postmaster_without_a_place_is_told, 0, sizeof role_places / sizeof role_places[0]);
    tcase_add_loop_test(tests, s49_an_alias_that_is_refused_for_one_address_is_told, 0, sizeof refused_targets / sizeof refused_targets[0]);
    tcase_add_loop_test(tests, a_limit_by_what_strangers_claim_is_told, 0, sizeof claimed / sizeof claimed[0]);
    tcase_add_loop_test(tests, s26_limits_of_exceptions_and_of_the_register, 0, sizeof limited_parties / sizeof limited_parties[0]);
    tcase_add_loop_test(tests, s60_exceptions_hold_until_they_expire, 0, sizeof exceptions / sizeof exceptions[0]);
    tcase_add_test(tests, s26_limits);
    tcase_add_test(tests, s66_registered_hosts);
    tcase_add_test(tests, s60_registrations_end);
    tcase_add_test(tests, limits_are_not_too_many);
    tcase_add_test(tests, networks_have_names);
    tcase_add_loop_test(tests, s48_s49_aliases, 0, sizeof expansions / sizeof expansions[0]);
    tcase_add_loop_test(tests, s48_aliases_with_tags, 0, sizeof tagged / sizeof tagged[0]);
    tcase_add_test(tests, s49_loops_of_tags);
    tcase_add_test(tests, s49_limits_of_aliases);
    tcase_add_test(tests, networks_agree_with_a_linear_search);
    tcase_add_test(tests, large_files_are_fast);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
