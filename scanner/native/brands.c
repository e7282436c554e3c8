/* brands.c - see brands.h */
#include "scanner/native/brands.h"
#include <string.h>
#include "common/idn.h"
#include "scanner/native/domain.h"
#include "scanner/native/fold.h"

#define TEXT_MAX 512

static const struct brand brands[] = {
    { "paypal", " paypal " },
    { "microsoft", " microsoft microsoftonline office office365 outlook live hotmail windows azure msn " },
    { "office 365", " microsoft microsoftonline office office365 outlook " },
    { "office365", " microsoft microsoftonline office office365 outlook " },
    { "outlook", " microsoft outlook live hotmail office365 " },
    { "onedrive", " microsoft live sharepoint " },
    { "sharepoint", " microsoft sharepoint " },
    { "apple", " apple icloud me mac itunes " },
    { "icloud", " apple icloud me mac " },
    { "itunes", " apple itunes " },
    { "amazon", " amazon amazonses amazonaws primevideo " },
    { "google", " google gmail googlemail youtube " },
    { "facebook", " facebook facebookmail meta fb " },
    { "instagram", " instagram facebook facebookmail meta " },
    { "whatsapp", " whatsapp facebook meta " },
    { "linkedin", " linkedin " },
    { "netflix", " netflix " },
    { "spotify", " spotify " },
    { "ebay", " ebay ebayinc " },
    { "docusign", " docusign " },
    { "dropbox", " dropbox dropboxmail " },
    { "adobe", " adobe adobesign echosign " },
    { "norton", " norton nortonlifelock gendigital symantec " },
    { "mcafee", " mcafee " },
    { "geek squad", " geeksquad bestbuy " },
    { "coinbase", " coinbase " },
    { "binance", " binance " },
    { "metamask", " metamask consensys " },
    { "trust wallet", " trustwallet binance " },
    { "trustwallet", " trustwallet binance " },
    { "blockchain com", " blockchain " },
    { "ledger", " ledger " },
    { "kraken", " kraken " },
    { "crypto com", " crypto " },
    { "dhl", " dhl dhl-news dpdhl " },
    { "fedex", " fedex " },
    { "ups", " ups " },
    { "usps", " usps " },
    { "dpd", " dpd dpdgroup geopost " },
    { "gls", " gls gls-group " },
    { "hermes", " hermes hermesworld myhermes evri " },
    { "royal mail", " royalmail " },
    { "postnl", " postnl " },
    { "chronopost", " chronopost " },
    { "colissimo", " colissimo laposte " },
    { "la poste", " laposte " },
    { "correios", " correios " },
    { "correos", " correos " },
    { "poste italiane", " poste posteitaliane " },
    { "swiss post", " post swisspost " },
    { "wells fargo", " wellsfargo " },
    { "bank of america", " bankofamerica bofa " },
    { "chase bank", " chase jpmorgan " },
    { "jpmorgan", " jpmorgan chase jpmchase " },
    { "citibank", " citibank citi citigroup " },
    { "capital one", " capitalone " },
    { "american express", " americanexpress aexp amex " },
    { "mastercard", " mastercard " },
    { "hsbc", " hsbc " },
    { "barclays", " barclays barclaycard " },
    { "lloyds", " lloydsbank lloydsbanking lloyds " },
    { "natwest", " natwest rbs " },
    { "santander", " santander gruposantander " },
    { "bradesco", " bradesco bradescoseguros bradescocartoes " },
    { "itau", " itau itau-unibanco itaucard " },
    { "banco do brasil", " bb bancodobrasil " },
    { "caixa economica", " caixa " },
    { "nubank", " nubank " },
    { "serasa", " serasa serasaexperian " },
    { "livelo", " livelo " },
    { "mercado livre", " mercadolivre mercadolibre mercadopago " },
    { "mercado pago", " mercadolivre mercadolibre mercadopago " },
    { "magazine luiza", " magazineluiza magalu " },
    { "americanas", " americanas " },
    { "bbva", " bbva " },
    { "caixabank", " caixabank lacaixa " },
    { "credit agricole", " credit-agricole ca " },
    { "bnp paribas", " bnpparibas bnp " },
    { "societe generale", " societegenerale socgen " },
    { "la banque postale", " labanquepostale laposte " },
    { "ameli", " ameli assurance-maladie " },
    { "assurance maladie", " ameli assurance-maladie " },
    { "rabobank", " rabobank " },
    { "abn amro", " abnamro " },
    { "ing bank", " ing ingbank " },
    { "mijnoverheid", " overheid mijnoverheid " },
    { "belastingdienst", " belastingdienst " },
    { "bol com", " bol " },
    { "sparkasse", " sparkasse s-finanzgruppe " },
    { "volksbank", " volksbank vr vr-bank " },
    { "commerzbank", " commerzbank " },
    { "deutsche bank", " deutschebank deutsche-bank db " },
    { "postbank", " postbank " },
    { "comdirect", " comdirect " },
    { "consorsbank", " consorsbank " },
    { "telekom", " telekom t-online magenta " },
    { "strato", " strato " },
    { "ionos", " ionos 1und1 1and1 " },
    { "godaddy", " godaddy secureserver " },
    { "ovh", " ovh ovhcloud " },
    { "swisscom", " swisscom bluewin " },
    { "postfinance", " postfinance " },
    { "intesa sanpaolo", " intesasanpaolo " },
    { "unicredit", " unicredit " },
    { "rakuten", " rakuten " },
    { "mercari", " mercari " },
    { "etc meisai", " etc-meisai " },
    { "steam", " steampowered steam valvesoftware " },
    { "walmart", " walmart " },
    { "costco", " costco " },
    { "home depot", " homedepot " },
    { "lowes", " lowes " },
    { "booking com", " booking " },
    { "airbnb", " airbnb " },
    { "western union", " westernunion " },
    { "moneygram", " moneygram " },
    { "world bank", " worldbank " },
    { "fbi", " fbi ic " },
    { "irs", " irs treasury " },
    { "zoom", " zoom " },
    { "wetransfer", " wetransfer " },
    { "ripple", " ripple xrpl " },
    { "arbitrum", " arbitrum offchainlabs " },
    { "pancakeswap", " pancakeswap " },
    { "uniswap", " uniswap " },
    { "opensea", " opensea " },
    { "trezor", " trezor satoshilabs " },
    { "voyager", " voyager investvoyager " },
    { "bybit", " bybit " },
    { "okx", " okx okex " },
    { "kaufland", " kaufland schwarz " },
    { "lidl", " lidl schwarz " },
    { "aldi", " aldi aldi-sued aldi-nord " },
    { "rewe", " rewe rewe-group " },
    { "edeka", " edeka " },
    { "fressnapf", " fressnapf " },
    { "adac", " adac " },
    { "mediamarkt", " mediamarkt mediamarktsaturn " },
    { "carrefour", " carrefour " },
    { "leroy merlin", " leroymerlin " },
    { "decathlon", " decathlon " },
    { "albert heijn", " ah albertheijn " },
    { "cvs pharmacy", " cvs cvshealth " },
    { "walgreens", " walgreens " },
    { "ace hardware", " acehardware " },
    { "harbor freight", " harborfreight " },
    { "kohls", " kohls kohl " },
    { "t mobile", " t-mobile " },
    { "verizon", " verizon verizonwireless " },
    { "xfinity", " xfinity comcast " },
    { "omaha steaks", " omahasteaks " },
    { "state farm", " statefarm " },
    { "starbucks", " starbucks " },
    { "dyson", " dyson " },
    { "milwaukee tool", " milwaukeetool " },
    { "publishers clearing house", " pch " },
    { "temu", " temu temuemail " },
    { "shein", " shein " },
    { "meta support", " meta facebook facebookmail " },
    { "prime video", " amazon primevideo " },
    { "prime customer", " amazon " },
};

static size_t fold_line(struct mime_span text, char out[TEXT_MAX + 1])
{
    struct fold fold = { .out = out, .room = TEXT_MAX };
    out[fold.len++] = ' ';
    fold_text(&fold, text);
    if (out[fold.len - 1] != ' ' && fold.len < TEXT_MAX)
        out[fold.len++] = ' ';
    out[fold.len] = '\0';
    return fold.len;
}

static bool has_label(const struct brand *brand, const char *label, size_t len)
{
    for (const char *at = brand->labels; (at = memmem(at, strlen(at), label, len)) != NULL; at++)
        if (at > brand->labels && at[-1] == ' ' && at[len] == ' ')
            return true;
    return false;
}

bool brand_owns(const struct brand *brand, const char *host)
{
    const char *label;
    size_t len = organisation_label(host, &label);
    return len > 0 && has_label(brand, label, len);
}

/* Whether a reader takes a skeleton for that word; see label_skeleton(). */
static bool seems(const char *skeleton, const char *word)
{
    for (; *word != '\0'; word++, skeleton++) {
        char c = *word == 'i' ? 'l' : *word;
        if (word[0] == 'r' && word[1] == 'n')
            c = 'm', word++;
        if (*skeleton != c)
            return false;
    }
    return *skeleton == '\0';
}

const struct brand *brand_in(struct mime_span text)
{
    char folded[TEXT_MAX + 1];
    size_t len = fold_line(text, folded);
    for (size_t at = 1; at < len; at++) {
        if (folded[at - 1] != ' ')
            continue;
        for (size_t i = 0; i < sizeof brands / sizeof brands[0]; i++) {
            if (brands[i].word[0] != folded[at])
                continue;
            size_t word = strlen(brands[i].word);
            if (word < len - at && memcmp(folded + at, brands[i].word, word) == 0 && folded[at + word] == ' ')
                return &brands[i];
        }
    }
    return NULL;
}

/* As "WaIIet" and "Netf1ix" are read. */
const struct brand *brand_disguised(struct mime_span text)
{
    const char *at = text.bytes, *end = at + text.len;
    while (at < end) {
        while (at < end && *at == ' ')
            at++;
        const char *word = at;
        while (at < end && *at != ' ')
            at++;
        char skeleton[HOST_MAX], folded[TEXT_MAX + 1];
        struct mime_span one = { word, (size_t)(at - word) };
        if (one.len < 5 || one.len > 40)
            continue;
        size_t len = fold_line(one, folded);
        label_skeleton(one.bytes, one.len, skeleton);
        for (size_t i = 0; i < sizeof brands / sizeof brands[0]; i++) {
            size_t word_len = strlen(brands[i].word);
            if (word_len >= 5 && seems(skeleton, brands[i].word) && !(len == word_len + 2 && memcmp(folded + 1, brands[i].word, word_len) == 0))
                return &brands[i];
        }
    }
    return NULL;
}

/* As a word of its own: paypal-secure, not applegate. */
static bool has_word(const char *label, size_t len, const char *word, size_t word_len)
{
    const char *at = memmem(label, len, word, word_len);
    return at != NULL && (at == label || at[-1] == '-') && (at + word_len == label + len || at[word_len] == '-');
}

const struct brand *brand_imitated(const char *host)
{
    const char *label;
    char unicode[IDN_NAME_MAX], skeleton[HOST_MAX];
    size_t len = organisation_label(host, &label);
    bool dashed = memchr(label, '-', len) != NULL;
    const char *own = host_organisation(host), *seen = own;
    if (strstr(own, "xn--") != NULL && strlen(own) < IDN_NAME_MAX && idn_to_unicode(unicode, own))
        seen = unicode;
    label_skeleton(seen, strcspn(seen, "."), skeleton);
    for (size_t i = 0; i < sizeof brands / sizeof brands[0]; i++) {
        const char *word = brands[i].word;
        size_t word_len = strlen(word);
        if (word_len < 5 || strchr(word, ' ') != NULL)
            continue;
        bool same = len == word_len && memcmp(label, word, len) == 0; /* elsewhere, as in apple.de */
        if (!same && ((dashed && has_word(label, len, word, word_len)) || seems(skeleton, word)) && !brand_owns(&brands[i], host))
            return &brands[i];
    }
    return NULL;
}
