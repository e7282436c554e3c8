/* fold.c - see fold.h */
#include "scanner/native/fold.h"
#include <stdbool.h>
#include <string.h>
#include "common/utf8.h"

enum script { SCRIPT_NONE, SCRIPT_LATIN, SCRIPT_OTHER };

/* Latin-1 and Latin Extended-A (U+00C0 to U+017F) without marks; '\0': two letters or none */
static const char latin[] =
    "aaaaaaaceeeeiiiidnooooo\0ouuuuyts" "aaaaaaaceeeeiiiidnooooo\0ouuuuyty"
    "aaaaaaccccccccddddeeeeeeeeeegggggggghhhhiiiiiiiiiiiijjkkkllllllllllnnnnnnnnnoooooooorrrrrrssssssssttttttuuuuuuuuuuuuwwyyyzzzzzzs";

static void put(struct fold *fold, const char *bytes, size_t len)
{
    if (fold->room - fold->len < len)
        return;
    memcpy(fold->out + fold->len, bytes, len);
    fold->len += len;
}

static void put_blank(struct fold *fold)
{
    if (fold->len > 0 && fold->out[fold->len - 1] != ' ')
        put(fold, " ", 1);
}

static bool is_wide(uint32_t code)
{
    return (code >= 0x2e80 && code <= 0x9fff && code != 0x3000 && !(code >= 0x3001 && code <= 0x303f)) || (code >= 0xac00 && code <= 0xd7a3) ||
           (code >= 0xf900 && code <= 0xfaff) || (code >= 0x20000 && code <= 0x3ffff);
}

/* What is above ASCII; gives the script that the character is of. */
static enum script fold_wide(struct fold *fold, const char *bytes, size_t len, uint32_t code)
{
    if (code >= 0xc0 && code <= 0x17f) {
        char c = latin[code - 0xc0];
        if (c != '\0' && code != 0xd7 && code != 0xf7)
            put(fold, &c, 1);
        return SCRIPT_LATIN;
    }
    if (code >= 0x1d400 && code <= 0x1d6a3) { /* mathematical letters, 26 capitals and 26 small ones of each style */
        char c = (char)('a' + (code - 0x1d400) % 26);
        put(fold, &c, 1);
        fold->styled++;
        return SCRIPT_LATIN;
    }
    if (code >= 0xff01 && code <= 0xff5e) {
        char c = (char)(code - 0xfee0);
        if (c >= 'A' && c <= 'Z')
            c = (char)(c | 0x20);
        bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '!' || c == '%' || c == '$' || c == '@';
        put(fold, word ? &c : " ", 1);
        return SCRIPT_NONE;
    }
    if (is_wide(code)) {
        fold->wide++;
        put(fold, bytes, len);
        return SCRIPT_NONE;
    }
    if ((code >= 0x391 && code <= 0x3a9) || (code >= 0x410 && code <= 0x42f)) { /* Greek and Cyrillic capitals */
        code += 0x20;
        char small[2] = { (char)(0xc0 | code >> 6), (char)(0x80 | (code & 0x3f)) };
        put(fold, small, 2);
        return SCRIPT_OTHER;
    }
    if ((code >= 0x2000 && code <= 0x206f) || code == 0xa0 || code == 0x3000 || (code >= 0x3001 && code <= 0x303f) || (code >= 0xa1 && code <= 0xbf) || code == 0xfffd ||
        code == 0xfeff) {
        put_blank(fold);
        return SCRIPT_NONE;
    }
    if (code >= 0x300 && code <= 0x36f) /* marks that stand by themselves */
        return SCRIPT_LATIN;
    put(fold, bytes, len);
    return code >= 0x370 && code <= 0x52f ? SCRIPT_OTHER : SCRIPT_NONE;
}

size_t fold_text(struct fold *fold, struct mime_span text)
{
    unsigned scripts = 0; /* of the word so far */
    size_t i = 0;
    while (i < text.len && fold->room - fold->len >= FOLD_SPARE) {
        char c = text.bytes[i];
        if ((unsigned char)c < 0x80) {
            i++;
            bool capital = c >= 'A' && c <= 'Z';
            if (capital || (c >= 'a' && c <= 'z')) {
                fold->letters++;
                fold->capitals += capital ? 1 : 0;
                scripts |= 1u << SCRIPT_LATIN;
                fold->out[fold->len++] = (char)(c | 0x20);
            } else if ((c >= '0' && c <= '9') || c == '$' || c == '%' || c == '@' || c == '!') {
                fold->out[fold->len++] = c;
            } else if (c != '\'') { /* "don't" is one word */
                fold->mixed += scripts == (1u << SCRIPT_LATIN | 1u << SCRIPT_OTHER) ? 1 : 0;
                scripts = 0;
                put_blank(fold);
            }
            continue;
        }
        uint32_t code;
        size_t len = utf8_read(text.bytes + i, text.len - i, &code);
        if (len == 0) {
            i++;
            continue;
        }
        enum script script = fold_wide(fold, text.bytes + i, len, code);
        scripts = script == SCRIPT_NONE ? 0 : scripts | 1u << script;
        i += len;
    }
    put_blank(fold);
    return i;
}
