"""More words of liking and disliking, as alternatives of regular expressions (see `feelings`)."""

GOOD = (
    r"adorable|admirable|absorbing|addictive|breathtaking|brill|cracking|cute|compelling|cosy|dazzling|divine|elegant|enchanting|enjoyable"
    r"|entertaining|enthralling|exceptional|exquisite|extraordinary|fab|fascinating|first class|flawless|glorious|gorgeous|grand|golden"
    r"|heart-?warming|heartfelt|immersive|inspiring|intriguing|irresistible|just right|legendary|likeable|marvelous|mesmeri[sz]ing"
    r"|mind[- ]blowing|memorable|neat|poetic|polished|powerful|priceless|reliable|remarkable|rewarding|satisfying|sensational|sharp|smashing"
    r"|spectacular|spellbinding|stellar|sublime|superior|super|supreme|swell|triumph|uplifting|unforgettable|unputdownable|unmissable|well made"
    r"|well done|witty|world class|worth every penny|page[- ]turner|yay|bliss|my jam|thumbs[- ]up|big yes|oh yes|hell yes|yes please"
)
BAD = (
    r"abysmal|amateurish|appalling|atrocious|bland|bloated|bleh|blah|cheesy|cliched|clumsy|clunky|confusing|corny|creepy|cringe\w*|cringy"
    r"|depressing|derivative|dire|disgusting|dismal|dreary|embarrassing|excruciating|exhausting|flimsy|frustrating|ghastly|grating|gross|hideous"
    r"|hollow|hopeless|horrid|horrendous|incoherent|inferior|insufferable|irritating|joyless|laughable|lifeless|lousy|miserable|monotonous"
    r"|muddled|nasty|nonsense|off[- ]putting|pathetic|pointless|predictable|preachy|ridiculous|repulsive|rotten|sappy|shallow|shoddy|silly"
    r"|sloppy|soulless|stale|stinker|superficial|tacky|tasteless|tiresome|tiring|torture|turkey|ugly|unconvincing|underwhelming|unfunny"
    r"|uninspired|unpleasant|unimpressive|useless|vile|vapid|wooden|worthless|yuck\w*|ugh|eww?|zzz+|no go|big no|a drag|a chore|a slog"
    r"|a let-?down|a pass|over-?hyped|too (?:slow|loud|dark|silly|violent|scary|sad|weird|sweet|noisy|heavy|complicated)|thumbs[- ]down|no way|hell no|nah"
)
PLEASED = (
    r"could watch (?:it )?(?:all day|forever|again)|(?:giggled|laughed|smiled|flew|raced|binged) (?:all )?(?:through|at)|won (?:me|us|him|her) over|swept (?:me|us) away|stuck with (?:me|us)|touched (?:me|us)|impressed (?:me|us)|hooked (?:me|us)"
    r"|had (?:me|us) (?:hooked|laughing|glued|crying)|made (?:me|us|him|her) (?:laugh|smile|cry|happy)|kept (?:me|us) (?:hooked|awake all night)"
)
DISPLEASED = (
    r"(?:is|was|are|were)(?:n['’]t| not)(?=\s*(?:[.,;!?]|$))|drives? (?:me|us|him|her) (?:mad|nuts|crazy|up the wall|insane)|(?:put|turned) (?:me|us|him|her) off|drove (?:me|us) (?:up the wall|insane)|wore (?:me|us) out|lost (?:me|us)|failed (?:me|us)"
    r"|(?:irritated|depressed|disgusted|frightened|scared) (?:me|us|him|her)|made (?:me|us|him|her) (?:sick|cringe|angry|snore|fall asleep|roll my eyes)"
    r"|left (?:me|us|him|her) (?:cold|bored|unmoved|indifferent|disappointed)|walked out|switched (?:it )?off|turned (?:it )?off|fell asleep"
    r"|want(?:ed)? my money back|(?:doesn|didn)['’]t do it for (?:me|us)|went over my head|went on (?:forever|too long)|not for (?:me|us|him|her)"
    r"|(?:i|we) (?:do not|don['’]t|did not|didn['’]t|never|could not|couldn['’]t) (?:really )?(?:like|enjoy|care for|get into|get|love|finish|stand|rate|warm to)"
    r"(?: (?:it|that|them|much|at all))?"
)
AVERSE = (
    r"(?:was|am|is|are|were) (?:not|never) (?:into|taken with|keen on|impressed (?:by|with)|fond of|happy with|convinced by)|no fan of"
    r"|unimpressed (?:by|with)|let down by|put off by|turned off by|traumati[sz]ed by|irritated by|disgusted by|cringed? at"
    r"|yawned (?:at|through|during)|slept through|suffered through|sat through|had to stop|stopped (?:watching|reading)|abandoned|ditched|no more(?: of)?|enough of|do without|terrified (?:by|of)|force(?:d)? (?:my|our)sel(?:f|ves) through|a no (?:for|to)|bad(?=\s*:)|worst(?=\s*:)|dislikes?(?=\s*:)"
)
# Verbs in their base form: an opinion only behind somebody whose it is.
BASE_FORMS = frozenset(
    [
        "love",
        "like",
        "enjoy",
        "adore",
        "dig",
        "prefer",
        "treasure",
        "appreciate",
        "hate",
        "dislike",
        "detest",
        "despise",
        "loathe",
        "luv",
        "worship",
    ]
)
