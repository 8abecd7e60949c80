"""tokenizer.json files of the three kinds, made with the `tokenizers` package, and texts to try them on."""
import pathlib
import random
import unicodedata

ROOT = pathlib.Path(__file__).resolve().parents[2]

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
# Words of many scripts and habits; made up for this test.
LANGUAGES = """The lighthouse keeper's daughter won't come; she'd said they'll see who's right, and I've heard 1,024 such tales.
Die Größe der Straße überraschte niemanden, doch Übung fehlte. L'été dernier, où étions-nous? Ça va très bien, merci.
El niño comió piñas mañana; ¿quién lo habría creído? Żółta łódź płynie przez jezioro. Příliš žluťoučký kůň úpěl.
Маяк стоит на скале, и море шумит ночью. Ο φάρος στέκεται στον βράχο και η θάλασσα μουρμουρίζει.
灯台は岩の上に立ち、夜の海がざわめく。カモメが３羽飛んだ。灯塔立在岩石上，夜里海浪轻轻地响。바위 위의 등대는 밤바다를 비춘다.
המגדלור עומד על הסלע. المنارة تقف على الصخرة والبحر يهمس ليلاً. प्रकाशस्तंभ चट्टान पर खड़ा है। ประภาคารตั้งอยู่บนโขดหิน
Ngọn hải đăng đứng trên vách đá và biển thì thầm. İstanbul'da ışık söndü. Ἀρχὴ σοφίας. 👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪 naïve café café ﬁn ſo ´s
def f(x):\n\treturn {k: v**2 for k, v in x.items() if v != 0xFF}  # a comment\r\n\r\n    if (a<b&&c>=d) { x+=1; }\n\n\n   end
"""


def training_texts():
    code = [path.read_text() for path in sorted((ROOT / "protocol" / "base").glob("*.*pp"))]
    return [LANGUAGES] * 4 + code + [(ROOT / "README.md").read_text()]


def make(kind, vocab_size=1500, texts=None, merges_as_text=False):
    """The JSON text of a tokenizer.json: kind gpt2, llama3 or qwen."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    tokenizer = Tokenizer(models.BPE(ignore_merges=kind == "llama3"))
    tokenizer.decoder = decoders.ByteLevel()
    if kind == "gpt2":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
        added = [AddedToken("<|endoftext|>", special=True, normalized=True), AddedToken("<mask>", special=True, lstrip=True),
                 AddedToken("<right>", rstrip=True, normalized=False), AddedToken("  ", normalized=True)]
    else:
        pattern = LLAMA3 if kind == "llama3" else QWEN
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
        names = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"] if kind == "llama3" else ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
        added = [AddedToken(name, special=True, normalized=False) for name in names]
        added += [AddedToken("<tool_call>", special=False, normalized=False), AddedToken("Å", normalized=True)]
    if kind == "qwen":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.train_from_iterator(texts or training_texts(), trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tokenizer.add_tokens(added)
    if kind == "llama3":
        tokenizer.post_processor = processors.Sequence([
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|> $B",
                                          special_tokens=[("<|begin_of_text|>", tokenizer.token_to_id("<|begin_of_text|>"))])])
    text = tokenizer.to_str()
    if merges_as_text:
        import json
        file = json.loads(text)
        file["model"]["merges"] = [" ".join(pair) for pair in file["model"]["merges"]]
        text = json.dumps(file)
    return text


SPACES = [chr(c) for c in (*range(9, 14), 0x1C, 0x1F, 0x20, 0x85, 0xA0, 0x1680, 0x180E, *range(0x2000, 0x2010), 0x2028, 0x2029, 0x202F, 0x205F, 0x2060,
                           0x3000, 0xFEFF)]
EDGES = [chr(c) for c in (0, 1, 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFDD0, 0xFFFD, 0xFFFE, 0xFFFF, 0x10000, 0x1FFFF, 0x10FFFE, 0x10FFFF)]
MARKS = [chr(c) for c in range(0x110000) if unicodedata.combining(chr(c))]
DECOMPOSED = ["A\u030a", "e\u0301", "o\u0302\u0323", "\u1112\u1161\u11ab", "\u1100\u1161", "\u212b", "\u2126", "\ufb2c", "\u0958", "\u0344", "\u0f73", "\U0001d15e",
              "q\u0307\u0323", "\u03b1\u0313\u0300\u0345", "\u1e9b\u0323", "\u0cc6\u0cc2\u0cd5"]
EMOJI = ["👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪", "🇫🇷🇯", "1️⃣", "☕︎", "\u200d", "\ufe0f", "🧑🏿‍🚀"]
CODE = ["\n", "\r\n", "\t", "    ", "->", "::", "//", "!=", "0x1F", "{}", "'s", "'LL", "'ſ", "'ve", "I'm", "_", "3.14", "x²", "½", "Ⅷ", "١٢٣", "<|", "|>", "<"]


def random_character(draw):
    """Any valid character, assigned or not."""
    while True:
        c = draw.choice([draw.randrange(0x80), draw.randrange(0x3000), draw.randrange(0x10000), draw.randrange(0x110000)])
        if 0xD800 <= c <= 0xDFFF:
            continue
        return chr(c)


def random_text(draw, specials):
    words = LANGUAGES.split(" ")
    kinds = [lambda: draw.choice(words), lambda: " ", lambda: draw.choice(SPACES) * draw.choice([1, 1, 1, 2, 3, 9]), lambda: draw.choice(EDGES),
             lambda: "".join(draw.choice(MARKS) for _ in range(draw.randrange(1, 6))), lambda: draw.choice(DECOMPOSED), lambda: draw.choice(EMOJI),
             lambda: draw.choice(CODE), lambda: random_character(draw), lambda: draw.choice(specials), lambda: draw.choice(specials)[:draw.randrange(1, 9)],
             lambda: draw.choice("aeAZzß") * draw.choice([1, 2, 60, 300])]
    favourites = draw.sample(kinds, draw.randrange(1, len(kinds) + 1))
    return "".join(draw.choice(favourites)() for _ in range(draw.choice([1, 3, 10, 40, 150])))
