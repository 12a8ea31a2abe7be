"""Replies that models write, and replies that policies invent to be paid for nothing: what each is worth.

Each line is a reply, its accuracy (IoU for grounding, F1 for key elements) and its format. A value of None means that
the reply names no answer at all, which is worth 0 as well.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vrl.reward import REWARDS
from vrl.reward.inputs import RewardInput
from vrl.tasks import TASKS
from vrl.tasks.answer import choice_letter
from vrl.types import Sample

S, E = "<|event_start|>", "<|event_end|>"
DURATION_S = 10.0


@dataclass(frozen=True)
class Truth:
    """What is true of a question, and the reward that compares a reply with it."""

    fields: dict[str, Any]
    reward: str = "accuracy"


def of_type(answer_type: str, answer: str, *options: str) -> Truth:
    return Truth({"answer_type": answer_type, "answer": answer, "options": options})


def events(*spans: tuple[float, float]) -> Truth:
    return Truth({"answer_type": "span", "spans": spans}, "iou")


COLOUR = of_type("choice", "B", "red", "blue", "green")
SENTENCE = of_type("choice", "B", "A dog barks.", "A dog and a cat play.", "A dog", "Both A and B")
SIGN = of_type("choice", "A", "-5", "5", "+5", "0.5")
SPAN = events((2.0, 6.0))
ELEMENTS = Truth({"answer_type": "elements", "key_elements": ("red ball", "The cube")}, "element_f1")

Reply = tuple[str, float | None, int]
DIRECT: list[tuple[str, Truth, list[Reply]]] = [
    (
        "vqa",
        COLOUR,
        [
            ("B", 1, 1),
            (" B", 1, 1),
            ("B<|im_end|>", 1, 1),
            ("B<|im_end|>A", 1, 1),
            ("B<|endoftext|> or A", 1, 1),
            ("B.", 1, 1),
            ("B)", 1, 1),
            ("(B)", 1, 1),
            ("(B).", 1, 1),
            ("B:", 1, 1),
            ("B. blue", 1, 1),
            ("B. Blue.", 1, 1),
            ("(B) blue", 1, 1),
            ("B: blue", 1, 1),
            ("B, blue", 1, 1),
            ("blue", 1, 1),
            ("Blue.", 1, 1),
            ("BLUE!", 1, 1),
            ("the blue", 1, 1),
            ("**blue**", 1, 1),
            ("\uff22", 1, 1),  # full-width
            ("\uff08\uff22\uff09", 1, 1),
            ("\uff22\u3002", None, 0),  # with a Chinese full stop
            ("A", 0, 1),
            ("C. green", 0, 1),
            ("red", 0, 1),
            ("D", None, 0),  # no such option
            ("Z", None, 0),
            ("b", None, 0),
            ("**B**", None, 0),
            ("[B]", None, 0),
            ("`B`", None, 0),
            ("$B$", None, 0),
            ("\\boxed{B}", None, 0),
            ("$\\boxed{\\text{B}}$", None, 0),
            ("Answer: B", None, 0),
            ("The answer is B.", None, 0),
            ("Option B", None, 0),
            ("B blue", None, 0),
            ("B\nblue is seen", None, 0),
            ("B. red", None, 0),  # the letter of one, the text of another
            ("A. blue", None, 0),
            ("A, B, C", None, 0),
            ("A, B", None, 0),
            ("B, A", None, 0),
            ("B, B", None, 0),
            ("BB", None, 0),
            ("ABC", None, 0),
            ("A. red, B. blue", None, 0),
            ("B. blue, A. red", None, 0),
            ("A. red\nB. blue\nC. green", None, 0),
            ("(A) or (B)", None, 0),
            ("(B) or (A)", None, 0),
            ("B/C", None, 0),
            ("B & C", None, 0),
            ("red, blue", None, 0),
            ("red or blue", None, 0),
            ("blue or red", None, 0),
            ("red blue green", None, 0),
            ("not B", None, 0),
            ("B is wrong", None, 0),
            ("(B) is not it", None, 0),
            ("B. No.", None, 0),
            ("B: wrong, it is red", None, 0),
            ("not blue", None, 0),
            ("Because", None, 0),
            ("Blueberry", None, 0),
            ("", None, 0),
            ("   ", None, 0),
            ("...", None, 0),
            ("<|im_end|>B", None, 0),
            ("<answer>B</answer>", None, 0),
            ("\u24b7", None, 0),  # a B in a circle
            ("\u0392", None, 0),  # a Greek Beta
            ("\u0412", None, 0),  # a Cyrillic Ve
            ("2", None, 0),
            ("B" * 1000, None, 0),
        ],
    ),
    (
        "vqa",
        SENTENCE,
        [
            ("B", 1, 1),
            ("A dog and a cat play.", 1, 1),
            ("B. A dog and a cat play", 1, 1),
            ("A dog barks", 0, 1),
            ("A dog", 0, 1),  # an article, and an option of its own
            ("A. dog", None, 0),
            ("D. Both A and B", 0, 1),
            ("Both A and B", 0, 1),
            ("A and B", None, 0),
            ("A dog barks. A dog and a cat play.", None, 0),
            ("A cat", None, 0),
        ],
    ),
    (
        "vqa",
        of_type("choice", "B", "a cat", "the cat", "cats", "cats"),
        [("the cat", 1, 1), ("B. cat", 1, 1), ("a cat", 0, 1), ("cat", None, 0), ("cats", 0, 1)],
    ),
    ("vqa", SIGN, [("-5", 1, 1), ("\u22125", 1, 1), ("5", 0, 1), ("+5", 0, 1), (".5", None, 0), ("A. 5", None, 0)]),
    (
        "vqa",
        of_type("number", "3"),
        [
            ("3", 1, 1),
            ("3.", 1, 1),
            ("+3", 1, 1),
            ("03", 1, 1),
            ("\uff13", 1, 1),  # full-width
            ("\uff13\uff0e", 1, 1),
            ("\u0663", 1, 1),  # Arabic-Indic
            ("\u096b", 0, 1),  # a Devanagari five
            ("3.0", 0, 1),  # Video-R1: both or neither with a decimal point
            ("4", 0, 1),
            ("-3", 0, 1),
            ("33", 0, 1),
            ("3,4", None, 0),
            ("3 or 4", None, 0),
            ("3 4", None, 0),
            ("1, 2, 3", None, 0),
            ("2-4", None, 0),
            ("3 balls", None, 0),
            ("three", None, 0),
            ("**3**", None, 0),
            ("$3$", None, 0),
            ("\\boxed{3}", None, 0),
            ("\\frac{6}{2}", None, 0),
            ("6/2", None, 0),
            ("2+1", None, 0),
            ("3%", None, 0),
            ("= 3", None, 0),
            ("not 3", None, 0),
            ("\u00b3", None, 0),  # a superscript three
            ("\u2462", None, 0),  # a three in a circle
            ("III", None, 0),
            ("3\n4", None, 0),
            ("nan", None, 0),
            ("inf", None, 0),
            ("3e0", None, 0),
            ("0x3", None, 0),
            ("__import__('os').getpid()", None, 0),
            ("3" * 65, None, 0),
            ("9" * 5000, None, 0),
        ],
    ),
    ("vqa", of_type("number", "32"), [("3\u00b2", None, 0), ("32", 1, 1), ("3 2", None, 0)]),
    (
        "vqa",
        of_type("number", "-1200.5"),
        [
            ("-1200.5", 1, 1),
            ("-1,200.5", 1, 1),
            ("\u22121200.50", 1, 1),
            ("-1200.5.", 1, 1),
            ("1200.5", 0, 1),
            ("-1200", 0, 1),
            ("- 1200.5", None, 0),
            ("-1.200,5", None, 0),
            ("--1200.5", None, 0),
        ],
    ),
    (
        "vqa",
        of_type("regression", "10"),
        [
            ("10", 1, 1),
            ("10.", 1, 1),
            ("9", 0.9, 1),
            ("12.5", 0.75, 1),
            ("\uff19", 0.9, 1),
            ("-10", 0, 1),
            ("1000000", 0, 1),
            ("9 or 11", None, 0),
            ("about 10", None, 0),
            ("10 metres", None, 0),
            ("inf", None, 0),
        ],
    ),
    (
        "vqa",
        of_type("text", "red ball"),
        [
            ("red ball", 1, 1),
            ("The Red Ball.", 1, 1),
            ("a red  ball!", 1, 1),
            ("**red ball**", 1, 1),
            ('"red ball"', 1, 1),
            ("red-ball", 1, 1),
            ("\uff52\uff45\uff44 ball\u3002", 1, 1),
            ("red", 0, 1),
            ("ball red", 0, 1),
            ("red ball, blue ball", 0, 1),
            ("red ball or blue ball", 0, 1),
            ("not a red ball", 0, 1),
            ("redball", 0, 1),
            ("r\u0435d ball", 0, 1),  # with a Cyrillic letter
            ("the", 0, 1),
            ("...", 0, 1),
            ("red\nball", 1, 0),  # two lines
            ("red\u2028ball", 1, 0),  # two lines by Unicode
            ("red ball\nblue ball", 0, 0),
            ("\\text{red ball}", 0, 1),
            ("", None, 0),
        ],
    ),
    (
        "vqa",
        of_type("text", "A"),
        [
            ("A", 1, 1),
            ("a", 1, 1),
            ("A.", 1, 1),
            ("the", 0, 1),
            ("an", 0, 1),
            ("...", 0, 1),
            ("?", 0, 1),
            ("A, B", 0, 1),
        ],
    ),
    (
        "vqa",
        of_type("text", "+"),
        [("+", 1, 1), ("\uff0b", 1, 1), ("-", 0, 1), ("...", 0, 1), ("the", 0, 1), ("*", 0, 1), ("++", 0, 1)],
    ),
    ("vqa", of_type("text", "?"), [("?", 1, 1), ("\uff1f", 1, 1), ("!", 0, 1), ("the", 0, 1)]),
    ("vqa", of_type("text", "C++"), [("C++", 1, 1), ("c++.", 1, 1), ("C", 0, 1), ("C#", 0, 1), ("C+", 0, 1)]),
    ("vqa", of_type("text", "-5"), [("-5", 1, 1), ("5", 0, 1), ("+5", 0, 1), ("\u22125", 1, 1)]),
    ("vqa", of_type("text", "3:4"), [("3:4", 1, 1), ("3.4", 0, 1), ("3/4", 0, 1), ("34", 0, 1), ("3 4", 0, 1)]),
    ("vqa", of_type("text", "vitamin A"), [("Vitamin A", 1, 1), ("vitamin", 0, 1), ("a vitamin", 0, 1)]),
    ("vqa", of_type("text", "b"), [("b", 1, 1), ("a, b", 0, 1), ("a-b", 0, 1), ("a/b", 0, 1)]),
    ("vqa", of_type("text", "\u7ea2\u7403"), [("\u7ea2\u7403\u3002", 1, 1), ("\u7ea2", 0, 1)]),
    (
        "vqa",
        of_type("ocr", "EXIT 12"),
        [
            ("EXIT 12", 1, 1),
            ("exit 12!", 1, 1),
            ("EXIT", 0.5, 1),
            ("EXIT 12 NORTH", 0.5, 1),
            ("exit 12 exit 12 exit 12", 0, 1),
            ("...", 0, 1),
            ("EXIT\n12", 1, 0),
        ],
    ),
    (
        "vqa",
        of_type("ocr", "\u51fa\u53e3\u5728\u5de6\u8fb9\u4e8c\u697c\u5927\u5385\u5185"),  # ten characters
        [
            ("\u51fa\u53e3\u5728\u5de6\u8fb9\u4e8c\u697c\u5927\u5385\u5185", 1, 1),
            ("\u51fa\u53e3\u5728\u53f3\u8fb9\u4e8c\u697c\u5927\u5385\u5185", 0.9, 1),
            ("\u51fa\u53e3\u5728\u5de6\u8fb9\u4e8c\u697c\u5927\u5385", 0.9, 1),
            ("\u51fa\u53e3\u3001\u5728\u5de6\u8fb9\u3002\u4e8c\u697c\u5927\u5385\u5185", 1, 1),
            ("exit", 0, 1),
        ],
    ),
    (
        "vqa",
        of_type("free", "a red ball rolls"),
        [
            ("a red ball rolls", 1, 1),
            ("A red ball rolls.", 1, 1),
            ("a red ball rolls\nto the left", 2 * (4 / 11 + 3 / 9 + 4 / 11) / 3, 1),
            ("a", (0.4 + 0 + 0.4) / 3, 1),
            ("ball " * 100, (2 / 104 + 0 + 2 / 104) / 3, 1),
            ("...", 0, 1),
            ("", None, 0),
        ],
    ),
    (
        "vqa",
        of_type("free", "\u7ea2\u8272\u7684\u7403"),
        [("\u7ea2\u8272\u7684\u7403", 1, 1), ("\u84dd\u8272\u7684\u7403", (3 / 4 + 2 / 3 + 3 / 4) / 3, 1)],
    ),
    (
        "grounding",
        SPAN,
        [
            (f"{S}[0.2, 0.6]{E}", 1, 1),
            (f" {S}[0.20, 0.60]{E}<|im_end|>", 1, 1),
            (f"{S} .2,  .6 {E}", 1, 1),
            (f"{S}[0.2, 0.4]{E} {S}[0.4, 0.6]{E}", 1, 1),
            (f"{S}[0.2, 0.4]{E}{S}[0.4, 0.6]{E}", 1, 1),
            (f"{S}[0.2, 0.4]{E}\n{S}[0.3, 0.6]{E}", 1, 1),
            (f"{S}[0.2, 0.4]{E}", 0.5, 1),
            (f"{S}[0.0, 1.0]{E}", 0.4, 1),
            (f"{S}[0.7, 0.9]{E}", 0, 1),
            (f"{S}[\uff10.2, 0.6]{E}", 1, 1),  # a full-width zero
            (f"{S}[0.6, 0.2]{E}", 0, 0),
            (f"{S}[0.3, 0.3]{E}", 0, 0),
            (f"{S}[0.2, 1.2]{E}", 0.4, 0),
            (f"{S}[2, 6]{E}", 0, 0),  # seconds
            (f"{S}[0.2, 0.6]{E}.", 1, 0),
            (f"It is {S}[0.2, 0.6]{E}", 1, 0),
            (f"{S}[0.2, 0.6]{E} I think", 1, 0),
            (f"{S} left with commas the video. {S}[0.2, 0.6]{E}", 1, 0),
            (f"{S}{S}[0.2, 0.6]{E}", 1, 0),
            (f"{S}[0.2, 0.6]{E}{E}", 1, 0),
            (f"{S}[0.2, 0.6]{E}{S}", 1, 0),
            (f"{S}[0.2, 0.6]{E} and {S}[0.2, 0.6]{E}", 1, 0),
            (f"{S}[0.2, 0.6]{E},{S}[0.2, 0.6]{E}", 1, 0),
            (f"{S}[0.2, 0.6]{E}{S}nothing{E}", 1, 0),
            (f"{E}{S}[0.2, 0.6]{E}", 1, 0),
            (f"<think>x</think>{S}[0.2, 0.6]{E}", 1, 0),
            (f"**{S}[0.2, 0.6]{E}**", 1, 0),
            (f"{S}[0.2, 0.6{E}", 1, 0),  # one bracket
            (f"{S}0.2, 0.6]{E}", 1, 0),
            (f"{S}[0.2, 0.6]{E}" * 65, 1, 0),  # more than are read
            (f"{S}[0.2, 0.6]", None, 0),
            (f"{S}[0.2, 0.6", None, 0),
            (f"[0.2, 0.6]{E}", None, 0),
            (f"{E}[0.2, 0.6]{S}", None, 0),
            ("[0.2, 0.6]", None, 0),
            ("0.2 to 0.6", None, 0),
            (f"{S}[0.2]{E}", None, 0),
            (f"{S}[0.2, 0.4, 0.6]{E}", None, 0),
            (f"{S}[0.2 0.6]{E}", None, 0),
            (f"{S}[0.2 - 0.6]{E}", None, 0),
            (f"{S}[20%, 60%]{E}", None, 0),
            (f"{S}[-0.2, 0.6]{E}", None, 0),
            (f"{S}[nan, inf]{E}", None, 0),
            (f"{S}[0:02, 0:06]{E}", None, 0),
            (f"{S}[[0.2, 0.6]]{E}", None, 0),
            (f"{S}not [0.2, 0.6]{E}", None, 0),
            (f"{S}{E}", None, 0),
            (f"<|im_end|>{S}[0.2, 0.6]{E}", None, 0),
            ("", None, 0),
        ],
    ),
    ("grounding", events((6.0, 12.0)), [(f"{S}[0.6, 1.0]{E}", 1, 1), (f"{S}[0.6, 1.2]{E}", 2 / 3, 0)]),
    (
        "grounding",
        events((0.0, 2.0), (8.0, 10.0)),
        [
            (f"{S}[0.0, 0.2]{E} {S}[0.8, 1.0]{E}", 1, 1),
            (f"{S}[0.8, 1.0]{E} {S}[0.0, 0.2]{E}", 1, 1),
            (f"{S}[0.0, 1.0]{E}", 0.4, 1),
            (f"{S}[0.0, 0.2]{E} {S}[1.0, 0.8]{E}", 0.5, 0),
        ],
    ),
    (
        "key_elements",
        ELEMENTS,
        [
            ("red ball, cube", 1, 1),
            (" Red ball, the cube<|im_end|>", 1, 1),
            ("cube, red ball.", 1, 1),
            ("**red ball**, cube", 1, 1),
            ("red ball", 2 / 3, 1),
            ("red ball, dog, cat", 0.4, 1),
            ("red ball, cube, red ball", 1, 0),
            ("red ball, a red ball", 2 / 3, 0),  # the same after normalising
            ("red ball,\ncube", 1, 1),
            ("red ball\ncube", 0, 0),
            ("red ball; cube", 0, 1),
            ("red ball and cube", 0, 1),
            ("not red ball, not cube", 0, 1),
            (",,,", None, 0),
            ("", None, 0),
        ],
    ),
    (
        "key_elements",
        Truth({"answer_type": "elements", "key_elements": ("+", "C++")}, "element_f1"),
        [("+, C++", 1, 1), ("-, C", 0, 1), ("..., the", 0, 1)],
    ),
]

T = "<think>I look.</think>"
THOUGHT: list[Reply] = [
    (f"{T}<answer>B</answer>", 1, 1),
    (f"{T}\n<answer> B </answer>\n<|im_end|>", 1, 1),
    (f"{T}<answer>B. blue</answer>", 1, 1),
    (f"{T}<answer>(B)</answer>", 1, 1),
    (f"{T}<answer>\uff22</answer>", 1, 1),
    (f"{T}<answer>A</answer>", 0, 1),
    (f"{T}<answer>b</answer>", 0, 0),
    (f"{T}<answer>**B**</answer>", 0, 0),
    (f"{T}<answer>\\boxed{{B}}</answer>", 0, 0),
    (f"{T}<answer>A, B, C</answer>", 0, 0),
    (f"{T}<answer>A. red, B. blue</answer>", 0, 0),
    (f"{T}<answer>(A) or (B)</answer>", 0, 0),
    (f"{T}<answer>not B</answer>", 0, 0),
    (f"{T}<answer>B, not A</answer>", 0, 0),
    # repeated, nested and unclosed blocks
    (f"{T}<answer>A</answer><answer>B</answer>", 1, 0),
    (f"{T}<answer>B</answer><answer>A</answer>", 0, 0),
    (f"{T}<answer>B</answer><answer>B</answer>", 1, 0),
    (f"{T}<answer>A</answer><answer>B</answer><answer>C</answer>", 0, 0),
    (f"{T}<answer>A <answer>B</answer></answer>", 1, 0),
    (f"{T}<answer><answer>B</answer></answer>", 1, 0),
    (f"{T}<answer>B</answer><answer>", 1, 0),
    (f"{T}<answer>B</answer></answer>", 1, 0),
    (f"{T}</answer><answer>B</answer>", 1, 0),
    (f"{T}<answer>B</answer><answer>A", 1, 0),
    (f"{T}<answer>B</answer><answer></answer>", None, 0),
    (f"{T}<answer>B", None, 0),
    (f"{T}B</answer>", None, 0),
    (f"{T}<answer>", None, 0),
    (f"{T}<answer></answer>", None, 0),
    (f"{T}<answer> \n </answer>", None, 0),
    (f"{T}B", None, 0),
    (f"{T}<answer>B<|im_end|></answer>", None, 0),
    (f"{T}<Answer>B</Answer>", None, 0),
    (f"{T}< answer >B</ answer >", None, 0),
    (f"{T}&lt;answer&gt;B&lt;/answer&gt;", None, 0),
    (f"{T}[answer]B[/answer]", None, 0),
    # text around the blocks
    (f"{T}So <answer>B</answer>", 1, 0),
    (f"{T}<answer>B</answer> yes", 1, 0),
    (f"Well. {T}<answer>B</answer>", 1, 0),
    (f"```{T}<answer>B</answer>```", 1, 0),
    # thoughts: cut off, absent, empty, repeated, behind the answer, with tags in them
    ("<think>At first <answer>B</answer> looks right, but", None, 0),
    ("<think>I look.<answer>B</answer>", None, 0),
    ("<think>I look.</think <answer>B</answer>", None, 0),
    (f"{T}<think>Wait. <answer>B</answer>", None, 0),
    (f"{T}<answer>B</answer><think>Wait. <answer>A</answer>", 1, 0),
    (f"{T}<answer>B</answer><think>Wait.</think>", 1, 0),
    (f"<answer>B</answer>{T}", 1, 0),
    ("<think><answer>B</answer></think>", None, 0),
    ("<think>Is it <answer>A</answer>?</think><answer>B</answer>", 1, 0),
    ("<think>Is it <answer>B</answer>?</think><answer>A</answer>", 0, 0),
    ("<think>I write <think> here.</think><answer>B</answer>", 1, 0),
    (f"{T}</think><answer>B</answer>", 1, 0),
    (f"{T}{T}<answer>B</answer>", 1, 0),
    ("<answer>B</answer>", 1, 0),
    ("<think></think><answer>B</answer>", 1, 0),
    ("<think> </think><answer>B</answer>", 1, 0),
    ("I look.</think><answer>B</answer>", 1, 0),
    ("<answer>B</answer></think>", None, 0),
    ("</think><think><answer>B</answer>", None, 0),
    ("<ans<think>x</think>wer>B</answer>", None, 0),
    (f"{T}<answer>B<think>x</think></answer>", 1, 0),
    (f"{T}<answer><think>B</think></answer>", None, 0),
    ("B", None, 0),
    ("", None, 0),
]
CITES = "<keyframes>[3, 4]</keyframes>"
CITED: list[Reply] = [
    (f"{T}{CITES}<answer>B</answer>", 1, 1),
    (f"{T}<answer>B</answer>{CITES}", 1, 1),
    (f"{T}<keyframes>3-5 ; 7</keyframes><answer>B</answer>", 1, 1),
    (f"{T}<keyframes>\uff13</keyframes><answer>B</answer>", 1, 1),
    (f"{T}<answer>B</answer>", 1, 0),
    (f"{CITES}{T}<answer>B</answer>", 1, 0),
    (f"{T}{CITES}{CITES}<answer>B</answer>", 1, 0),
    (f"{T}<keyframes></keyframes><answer>B</answer>", 1, 0),
    (f"{T}<keyframes>all</keyframes><answer>B</answer>", 1, 0),
    (f"{T}<keyframes>1-1000</keyframes><answer>B</answer>", 1, 0),
    (f"{T}<keyframes>5-3</keyframes><answer>B</answer>", 1, 0),
    (f"{T}<keyframes>[3, 4]<answer>B</answer>", 1, 0),
    (f"{T}<keyframes>[3]<answer>B</answer></keyframes>", 1, 0),
    (f"{T}<answer>B{CITES}</answer>", 0, 0),
    (f"<think>x{CITES}</think><answer>B</answer>", 1, 0),
    (f"<think>x{CITES}<answer>B</answer>", None, 0),
    (f"{T}{CITES}<answer>A, B</answer>", 0, 0),
    (f"{T}{CITES}<answer>A</answer><answer>B</answer>", 1, 0),
]
SECONDS: list[Reply] = [  # of the event from 2 s to 6 s
    (f"{T}<answer>2 to 6</answer>", 1, 1),
    (f"{T}<answer>2.00 to 6.00</answer>", 1, 1),
    (f"{T}<answer>From 2.0 and 6 seconds.</answer>", 1, 1),
    (f"{T}<answer>4 to 8</answer>", 1 / 3, 1),
    (f"{T}<answer>1 to 2, 4 TO 8</answer>", 1 / 3, 1),  # the last pair counts
    (f"{T}<answer>0 to 999999</answer>", 4 / 999999, 1),
    (f"{T}<answer>6 to 2</answer>", 0, 0),
    (f"{T}<answer>2 to 2</answer>", 0, 0),
    ("<answer>2 to 6</answer>", 1, 0),
    (f"{T}So <answer>2 to 6</answer>", 1, 0),
    (f"{T}<answer>2 to 6", None, 0),
    (f"{T}<answer>0.2, 0.6</answer>", None, 0),
    (f"{T}<answer>00:02 to 00:06</answer>", None, 0),
    (f"{T}<answer>2-6</answer>", None, 0),
    ("<think>2 to 6</think><answer>then</answer>", None, 0),
    ("", None, 0),
]


def cases() -> Iterator[tuple[str, Truth, Reply]]:
    for task, truth, replies in DIRECT:
        yield from ((task, truth, reply) for reply in replies)
    for task in ("think", "think_timestamps"):
        yield from ((task, COLOUR, reply) for reply in THOUGHT)
    yield from (("think_keyframes", COLOUR, reply) for reply in CITED)
    yield from (("think_seconds", SPAN, reply) for reply in SECONDS)
    # without citations the same answers are read, and no format is right
    yield from (("think_keyframes", COLOUR, (text, value, 0)) for text, value, _ in THOUGHT)


def scored(task: str, truth: Truth, text: str) -> RewardInput:
    sample = Sample(sample_id="s1", task=task, question="?", **truth.fields)
    parsed = TASKS[task].parse(text)
    return RewardInput(
        task=TASKS[task], sample=sample, duration_s=DURATION_S, text=text, parsed=parsed, finish_reason="stop"
    )


def test_every_reply_is_worth_what_it_says() -> None:
    """Report all faults together, a line each, with what was got and wanted."""
    faults, count, tasks = [], 0, set()
    for task, truth, (text, value, form) in cases():
        inputs = scored(task, truth, text)
        got = REWARDS[truth.reward](inputs), REWARDS["format"](inputs)
        if got != (pytest.approx(value or 0.0), float(form)):
            faults.append(f"{task} {truth.fields}: {text[:80]!r}: got {got}, wanted {value or 0}, {form}")
        if value is None and truth.reward == "accuracy" and form:
            faults.append(f"{task}: {text[:80]!r} names no answer and is well formed")
        count, tasks = count + 1, tasks | {task}
    assert not faults, "\n".join(faults)
    assert count >= 400 and tasks == set(TASKS)


@pytest.mark.parametrize("task", sorted(TASKS))
def test_a_reply_that_ran_out_of_tokens_has_no_format(task: str) -> None:
    for name, truth, (text, _, form) in cases():
        if name == task and form:
            inputs = scored(task, truth, text)
            assert REWARDS["format"](inputs) == 1.0
            cut = RewardInput(
                task=inputs.task, sample=inputs.sample, duration_s=DURATION_S, text=text, parsed=inputs.parsed,
                finish_reason="length",
            )  # fmt: skip
            assert REWARDS["format"](cut) == 0.0


OPTIONS = ("red", "blue", "green")
FORMS = ("{letter}", "({letter})", "{letter}.", "{letter}. {text}", "({letter}) {text}", "{text}", "{letter}: {text}")
BETWEEN = (", ", " ", "\n", " or ", " and ", "/", "; ", ". ", ") (", " not ", "")


@given(
    st.permutations(range(3)),
    st.integers(2, 3),
    st.lists(st.sampled_from(FORMS), min_size=3, max_size=3),
    st.sampled_from(BETWEEN),
    st.sampled_from(("{}", "{}.", "({})", "not {}", "{}, I think")),
)
def test_no_reply_that_names_two_options_is_an_answer(
    order: list[int], count: int, forms: list[str], between: str, around: str
) -> None:
    named = [form.format(letter=chr(65 + k), text=OPTIONS[k]) for k, form in zip(order[:count], forms, strict=False)]
    assert choice_letter(around.format(between.join(named)), OPTIONS) is None


@given(st.text("AB<>/ \n", max_size=30), st.sampled_from(["A", "B"]))
def test_nothing_in_a_closed_thought_changes_the_answer(thought: str, answer: str) -> None:
    for inside in (
        thought,
        f"<answer>{thought}</answer>",
        f"{thought}<answer>",
        f"</answer>{thought}",
        f"<think>{thought}",
    ):
        parsed = TASKS["think"].parse(f"<think>{inside}</think><answer>{answer}</answer>")
        assert parsed is not None and parsed.answer == answer
        assert TASKS["think"].parse(f"<think>{inside}<answer>{answer}</answer>") is None  # cut off


PIECES = (
    *("B", "B. ", "(", "((", "A, ", "blue ", "the ", "a ", "3", "3,", "1,234", ".", "-", "+", " ", "\n", "red ball, "),
    *("\uff22", "\u7ea2", "\u0301", "\\boxed{", "**", "$", "<", "</", "1-9 ", "<keyframes>", "<answer>B</answer>"),
    *("<think>", "</think>", "<think></think>", "<answer>", "</answer>", "<answer></answer>"),
    *(S, E, S + E, f"{S}[0.2, 0.6]{E}", f"{S}[", "[0.2, "),
)  # fmt: skip


@pytest.mark.parametrize("piece", PIECES)
def test_a_long_reply_is_scored_in_bounded_time(piece: str) -> None:
    text = piece * (50_000 // len(piece))
    started = time.process_time()
    answers = [COLOUR, *(of_type(kind, "3") for kind in ("number", "text", "ocr", "free"))]
    for task, truth in [("vqa", truth) for truth in answers] + [("grounding", SPAN), ("key_elements", ELEMENTS)]:
        for reply in (text, f"{S}{text}{E}"):
            REWARDS[truth.reward](inputs := scored(task, truth, reply))
            REWARDS["format"](inputs)
    for reply in (text, f"<think>{text}</think><answer>B</answer>", f"{T}<answer>{text}</answer>"):
        REWARDS["accuracy"](inputs := scored("think_keyframes", COLOUR, reply))
        REWARDS["format"](inputs)
    assert time.process_time() - started < 5.0  # quadratic code needs minutes
