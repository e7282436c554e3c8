/* phrases.c - see phrases.h: a table of the first four bytes, looked into where a word begins, and at each character of scripts without blanks */
#include "scanner/native/phrases.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "common/memory.h"

#define BUCKETS 4096

/* Folded, "|" between; "*" at the end: the word may go on. */
static const char *const family_phrases[PHRASE_FAMILIES] = {
    [PHRASE_CREDENTIALS] =
        "verify your account|verify your email|verify your identity|verify your information|confirm your account|confirm your identity|confirm your information|confirm your email|"
        "update your account|update your information|update your payment|update your billing|validate your account|validate your email|account verification|your account has been|your account was|"
        "account suspended|account is suspended|account has been limited|account limited|account will be|unusual activity|unusual sign in|unusual signin|suspicious activity|unauthorized access|security alert|"
        "sign in to your account|log in to your account|login to your account|reactivate|restore your account|restore access|password expires|password will expire|keep same password|keep current password|"
        "mailbox is full|mailbox full|mailbox storage|mailbox quota|quota exceeded|storage is full|storage limit|storage is almost full|incoming messages|pending messages|undelivered messages|email account|your wallet|wallet has|recovery phrase|seed phrase|two factor|two step|"
        "verifique sua conta|confirme seus dados|atualize seus dados|atualizacao cadastral|sua conta|seu cadastro|sua senha|acesso bloqueado|conta bloqueada|dispositivo de seguranca|internet banking|"
        "verifique su cuenta|su cuenta|actualizar sus datos|confirme su|su contrasena|acceso bloqueado|"
        "votre compte|vos informations|mettre a jour|votre espace client|votre carte|carte vitale|"
        "uw account|uw rekening|uw bankpas|uw gegevens|inloggen|verifieer|bevestig uw|mijn overheid|digid|"
        "ihr konto|ihr benutzerkonto|ihre daten|kundendaten|konto wurde|verifizieren|bestatigen sie|anmelden|pushtan|phototan|sicherheitsverfahren|"
        "il tuo account|il suo conto|il tuo conto|account e stato|accedi|アカウント|パスワード|本人確認|ご利用確認|お支払い方法|验证您",
    [PHRASE_URGENCY] =
        "within 24 hours|within 48 hours|in 24 hours|urgently|immediate action|action required|action needed|final notice|last warning|final warning|final reminder|last reminder|will be closed|will be suspended|will be deactivated|"
        "will be terminated|expires today|expire soon|failure to|avoid suspension|avoid interruption|important notice|attention required|"
        "imediatamente|ultimo aviso|24 horas|48 horas|sera bloqueada|sera suspensa|cancelamento|inmediatamente|sera suspendida|vencimento|"
        "immediatement|dernier rappel|dernier avis|sous 24 heures|sous 48 heures|suspendu|dringend|letzte mahnung|gesperrt|eingeschrankt|innerhalb von|onmiddellijk|binnen 24 uur|binnen 48 uur|geblokkeerd|laatste herinnering|urgent|scade|sospeso|bloccato|至急|緊急|立即",
    [PHRASE_PARCEL] =
        "your package|your parcel|package delivery|delivery attempt|failed delivery|missed delivery|delivery failed|unable to deliver|could not be delivered|shipping fee|customs fee|customs duty|tracking number|reschedule your delivery|awaiting delivery|track your|"
        "sua encomenda|seu pacote|seu objeto|taxa de entrega|rastreio|su paquete|tu paquete|su envio|votre colis|frais de livraison|livraison|ihr paket|ihre sendung|zustellung|sendungsverfolgung|uw pakket|uw zending|verzendkosten|bezorging|il tuo pacco|spedizione|お荷物|再配達|包裹",
    [PHRASE_PAYMENT] =
        "payment failed|payment declined|payment method|payment was declined|billing information|your subscription|subscription has|has expired|auto renewal|your invoice|outstanding invoice|overdue|refund|tax refund|"
        "remittance|payment advice|proof of payment|swift copy|boleto|nota fiscal|reembolso|restituicao|reembolso|pago pendiente|remboursement|ruckerstattung|mahnung|inkasso|terugbetaling|openstaand|rimborso|pagamento",
    [PHRASE_PRIZE] =
        "you have won|you won|youve won|you have been selected|have been chosen|you are the winner|lucky winner|winner|congratulations|congrats|claim your|claim now|lottery|sweepstakes|sweepstake|gift card|giftcard|free gift|reward|rewards|survey|"
        "parabens|voce ganhou|voce foi selecionado|sorteio|felicidades|ha ganado|ganador|loteria|felicitations|vous avez gagne|gagnant|tirage|gewonnen|gluckwunsch|gewinnspiel|gutschein|gefeliciteerd|winnaar|hai vinto|vincitore|当選|おめでとう|中奖|恭喜",
    [PHRASE_FUND] =
        "next of kin|estate worth|died intestate|decedent|law firm|financial institution|inheritance matters|project funding|large volume of funds|your funds|release of your fund*|payment of your|western union|moneygram|money gram|i am contacting you|reply to this email|my private email|nacoes unidas|beneficiary|inheritance|late husband|million dollars|million usd|million united states|million us dollars|million pounds|million euros|united states dollars|barrister|foreign partner|fund transfer|bank of africa|"
        "business proposal|strictly confidential|mutual benefit|trust you|god bless|orphanage|donate|donating|compensation fund|atm card|consignment|my late|dear friend|dearest|dear beneficiary|"
        "doacao|milhoes|herencia|donacion|millones|millions d euros|erbschaft|millionen|erfenis|donatie|miljoen|eredita|milioni",
    [PHRASE_LOAN] =
        "mortgage|mortgage rates|refinance|refinancing|low rates|home loan|personal loan|business loan|loan offer|need a loan|loan at|consolidate|consolidation|credit repair|bad credit|credit report|life insurance|insurance quote|"
        "emprestimo|emprestimos|taxa de juros|prestamo|prestamos|pret entre particulier|offre de pret|darlehen|lening|leningen|prestito|贷款|融资|ローン|融資",
    [PHRASE_INCOME] =
        "make money|making money|earn money|extra income|extra money|work at home|work from home|working from home|home based business|home business|be your own boss|financial freedom|financially independent|get rich|get paid|earn up to|earn $*|"
        "business opportunity|risk free|no risk|no obligation|100% guaranteed|money back|multi level|mlm|network marketing|pyramid|bulk email|bulk e mail|million email|email marketing|mass mailing|email list|"
        "potential earnings|unlimited income|residual income|free report|full refund|this is not spam|not spam|renda extra|ganhe dinheiro|trabalhe em casa|ganar dinero|trabajo desde casa|gagner de l argent|geld verdienen|geld verdienen|副業|稼げる|赚钱|兼职|月入|网赚",
    [PHRASE_MEDICINE] =
        "viagra|cialis|levitra|xanax|valium|phentermine|tramadol|ambien|vicodin|hydrocodone|soma|prozac|zoloft|propecia|meridia|pharmacy|online pharmacy|canadian pharmacy|no prescription|prescription drugs|meds|medications|pills|pill|erectile|erection|penis|enlarge|enlargement|"
        "inches|weight loss|lose weight|diet|diet pills|hgh|human growth|anti aging|testosterone|herbal|libido|orgasm|premature|cbd|keto|gummies|hair loss|wrinkles|disfuncao|emagrecer|perder peso|maigrir|abnehmen|potenz|afvallen|減量|ダイエット|减肥|壮阳",
    [PHRASE_ADULT] =
        "porn|porno|pornography|xxx|sex|sexy|sexual|nude|naked|horny|hot girls|hot women|teen|pussy|fuck|fucking|adult|adults only|webcam|web cam|live cam|cams|dating|single women|meet singles|local singles|hookup|russian women|hardcore|sluts|please her|"
        "encontros|mujeres solteras|citas|rencontres|出会い|人妻|熟女|アダルト|エッチ|セフレ|逆援助|色情|美女|性感|成人",
    [PHRASE_GAMBLING] = "casino|casinos|online casino|poker|gambling|jackpot|slots|roulette|blackjack|betting|free spins|free chips|welcome bonus|bonus|cassino|apostas|apuestas|spielbank|goktips|カジノ|パチンコ|赌场|博彩|六合彩",
    [PHRASE_CRYPTO] =
        "airdrop|air drop|claim your tokens|claim your share|claim tokens|token distribution|free tokens|nft|nfts|your wallet|wallet address|connect your wallet|connect wallet|btc|bitcoin|bitcoins|eth|ethereum|xrp|usdt|staking|web3|defi|presale|erc 20|"
        "mining balance|crypto wallet|cryptocurrency|crypto assets|smart contract|sua carteira|votre portefeuille|ihr wallet|比特币|仮想通貨",
    [PHRASE_GOODS] =
        "replica|replicas|rolex|watches|swiss watches|omega|cartier|breitling|gucci|louis vuitton|handbags|designer|oem software|cheap software|photoshop|windows xp|office xp|retail price|diploma|diplomas|university degree|bachelors|masters|"
        "cable box|cable descrambler|descrambler|dvd|dvds|satellite|ink cartridges|toner|cigarettes|vacation|cruise|warranty|extended warranty|car warranty|free shipping|shipping|wholesale|lowest price|lowest prices|best price|best prices|discount|discounts|save up to|% off|coupon|coupons|buy now|bestsellers|exclusive|brand new|"
        "ofertas|oferta|desconto|descontos|frete gratis|promocao|compre|descuento|descuentos|envio gratis|soldes|promo|promotion|rabatt|angebot|angebote|kostenlos|korting|aanbieding|gratis|sconto|offerta|ブランド|激安|送料無料|限定|セール|特价|促销|批发|厂家|价格|低价|打折",
    [PHRASE_STOCK] = "otcbb|pink sheets|stock alert|strong buy|investor alert|hot stock|penny stock|target price|breakout|forward looking statements|trading symbol",
    [PHRASE_EXTORTION] = "i recorded|your webcam|your camera|masturbat*|bitcoin address|btc address|btc wallet|bitcoin wallet|send bitcoin|i hacked|hacked your|i know your password|pervert|embarrass*|ビットコイン",
    [PHRASE_CALL] =
        "click here|click below|click the link|click the button|click on the link|click this|link below|button below|visit our|visit our website|visit our site|visit us|order now|order today|buy now|buy today|act now|act today|apply now|sign up now|subscribe now|call now|call today|call toll free|toll free|contact us now|"
        "dont miss|dont wait|hurry|limited time|limited offer|special offer|special promotion|exclusive offer|for free|absolutely free|totally free|100% free|free trial|try it free|free sample|free consultation|free quote|free info|view now|shop now|start now|"
        "clique aqui|clique no|acesse|aproveite|haga clic|haz clic|pulse aqui|cliquez ici|cliquez sur|profitez|klicken sie|hier klicken|klik hier|klik op|clicca qui|ここをクリック|クリック|点击|点这里|请点击|请登录|欢迎访问",
    [PHRASE_REMOVAL] =
        "unsubscribe|to unsubscribe|to be removed|be removed|remove me|removed from|opt out|opt in|opted in|optout|future mailings|future emails|further mailings|no longer wish|you are receiving this|you received this|receiving this email|receive this message|this email was sent|this is a one time|one time mailing|"
        "this message is sent in compliance|section 301|senate bill|s 1618|update preferences|email preferences|manage preferences|privacy policy|view in browser|view this email|not displaying|cannot see|can t see|cant see|having trouble viewing|"
        "descadastrar|descadastre|nao deseja|cancelar inscricao|darse de baja|no desea recibir|se desinscrire|desinscription|desabonner|abmelden|abbestellen|newsletter|afmelden|uitschrijven|disiscriviti|配信停止|退订|取消订阅|不再接收|打扰|冒昧",
    [PHRASE_CHINESE_TRADE] =
        "发票|代开|开票|税票|增值税|抵扣|税点|点数|优惠|洽谈|来电|致电|贵公司|报关|外贸|讲师|学员|报名|会员|推广|营销|群发|邮件列表|域名|空间|主机|诚信|招商|加盟|代理|订购|热线|垂询|商机|我司|敬请|祝商祺|财源|发财|赚钱|保健|治疗|"
        "办证|文凭|论文|發票|優惠|會員|請洽|免費|免费",
    [PHRASE_CHINESE_BUSINESS] =
        "税务|合作|业务|咨询|联系人|联系电话|手机|电话|传真|公司|有限公司|实业|贸易|进出口|财务|培训|课程|费用|网络|网站|产品|客户|服务|专业|质量|提供|购买|发布|本公司|经理|先生|小姐|生意|医院|服務|專業|電話|資料",
};

struct phrase {
    const char *text;
    uint8_t len, family;
    bool word, open; /* of letters: begins where a word does, and ends there unless open */
    uint16_t next;   /* in its bucket, one more than the index; 0: last */
};

struct phrases {
    struct phrase *all;
    size_t count;
    uint16_t buckets[BUCKETS];
};

static uint32_t key_of(const char *at, bool word)
{
    uint32_t key = 0;
    memcpy(&key, at, word ? 3 : 4);
    return key * UINT32_C(2654435761) >> 20;
}

static void add_phrase(struct phrases *phrases, const char *text, size_t len, size_t family)
{
    bool open = len > 0 && text[len - 1] == '*';
    len -= open ? 1 : 0;
    if (len < 3 || len > UINT8_MAX)
        return;
    bool word = (unsigned char)text[0] < 0x80;
    uint16_t *bucket = &phrases->buckets[key_of(text, word)];
    phrases->all = xrealloc(phrases->all, (phrases->count + 1) * sizeof *phrases->all);
    phrases->all[phrases->count++] = (struct phrase){ .text = text, .len = (uint8_t)len, .family = (uint8_t)family, .word = word, .open = open, .next = *bucket };
    *bucket = (uint16_t)phrases->count;
}

struct phrases *phrases_new(void)
{
    struct phrases *phrases = xcalloc(1, sizeof *phrases);
    for (size_t family = 0; family < PHRASE_FAMILIES; family++)
        for (const char *at = family_phrases[family]; *at != '\0';) {
            size_t len = strcspn(at, "|");
            add_phrase(phrases, at, len, family);
            at += len + (at[len] == '|' ? 1 : 0);
        }
    return phrases;
}

void phrases_free(struct phrases **phrases)
{
    if (*phrases != NULL)
        free((*phrases)->all);
    free(*phrases);
    *phrases = NULL;
}

static bool matches(const struct phrase *phrase, const char *at, size_t left)
{
    return left >= phrase->len && memcmp(at, phrase->text, phrase->len) == 0 &&
           (!phrase->word || phrase->open || left == phrase->len || at[phrase->len] == ' ' || at[phrase->len] == '!');
}

void phrases_find(const struct phrases *phrases, struct mime_span folded, size_t subject, struct phrase_hits *hits)
{
    uint64_t seen[32] = { 0 }; /* by the phrase's number: 2048 of them */
    *hits = (struct phrase_hits){ .distinct = { 0 } };
    for (size_t i = 0; i + 4 <= folded.len; i++) {
        unsigned char c = (unsigned char)folded.bytes[i];
        bool word = c < 0x80;
        if (word ? c == ' ' || (i > 0 && folded.bytes[i - 1] != ' ') : c < 0xe0)
            continue;
        for (uint16_t next = phrases->buckets[key_of(folded.bytes + i, word)]; next != 0;) {
            const struct phrase *phrase = &phrases->all[next - 1u];
            size_t number = next - 1u;
            next = phrase->next;
            if (phrase->word != word || number >= 2048 || (seen[number / 64] >> number % 64 & 1) != 0 || !matches(phrase, folded.bytes + i, folded.len - i))
                continue;
            seen[number / 64] |= UINT64_C(1) << number % 64;
            if (hits->distinct[phrase->family] < UINT8_MAX)
                hits->distinct[phrase->family]++;
            if (i < subject && hits->in_subject[phrase->family] < UINT8_MAX)
                hits->in_subject[phrase->family]++;
        }
    }
}
