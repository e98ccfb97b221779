"""Checkpoints of six families with random weights, small enough for a test: real classes, real processors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

Made = Callable[..., Any]  # a tokenizer, from how an image is shown and further special tokens
FAMILIES = ("qwen2_5_vl", "qwen3_vl", "llava", "llava_onevision", "gemma3", "idefics3")

_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}IMAGE{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_TEXT: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "initializer_range": 0.3,
}  # fmt: skip
_SIGLIP: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 14,
}  # fmt: skip


_WORDS = (
    "What do you see? Describe the lesion, its border, colour and scale in one sentence. Findings and answer.",
) * 3


def _tokenizer(words: Sequence[str], tokens: int, context: int, image_in_prompt: str, *more: str) -> Any:
    """A byte-level tokenizer of so many tokens, made for ``words``, whose template shows an image as asked."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *more]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    inner.train_from_iterator(
        words,
        trainers.BpeTrainer(vocab_size=tokens, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<|endoftext|>", bos_token="<|im_start|>",
        padding_side="left", model_max_length=context,
    )  # fmt: skip
    tokenizer.chat_template = _CHATML.replace("IMAGE", image_in_prompt)
    return tokenizer


def _text(tokenizer: Any, **more: Any) -> dict[str, Any]:
    ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "eos_token_id", "bos_token_id")}
    ids["max_position_embeddings"] = tokenizer.model_max_length
    return _TEXT | {"vocab_size": len(tokenizer) + 7} | ids | more  # wider than the tokenizer, as in real models


def _id(tokenizer: Any, token: str) -> int:
    return int(tokenizer.convert_tokens_to_ids(token))


def _qwen(made: Made, generation: str) -> tuple[Any, Any, Any]:
    import transformers as hf

    marks = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    tokenizer = made("<|vision_start|><|image_pad|><|vision_end|>", *marks)
    tokens = dict(
        zip(("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id"),
            (_id(tokenizer, mark) for mark in marks), strict=True)
    )  # fmt: skip
    vision = {"depth": 2, "hidden_size": 64, "num_heads": 4, "intermediate_size": 96, "spatial_merge_size": 2}
    if generation == "3":
        text = _text(tokenizer, rope_parameters={"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 2, 2]})
        vision |= {"out_hidden_size": 64, "patch_size": 16, "deepstack_visual_indexes": [0],
                   "num_position_embeddings": 256}  # fmt: skip
        config: Any = hf.Qwen3VLConfig(text_config=text, vision_config=vision, **tokens)
        model, processor, patch = hf.Qwen3VLForConditionalGeneration, hf.Qwen3VLProcessor, 16
    else:
        text = _text(tokenizer, rope_parameters={"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]})
        vision |= {"out_hidden_size": 64, "patch_size": 14, "window_size": 56, "fullatt_block_indexes": [1]}
        config = hf.Qwen2_5_VLConfig(text_config=text, vision_config=vision, **tokens)
        model, processor, patch = hf.Qwen2_5_VLForConditionalGeneration, hf.Qwen2_5_VLProcessor, 14
    images = hf.Qwen2VLImageProcessorPil(min_pixels=56 * 56, max_pixels=128 * 128, patch_size=patch, merge_size=2)
    return model(config), processor(images, tokenizer, None, chat_template=tokenizer.chat_template), tokenizer


def _llava(made: Made) -> tuple[Any, Any, Any]:
    import transformers as hf

    tokenizer = made("<image>", "<image>")
    config = hf.LlavaConfig(
        vision_config=hf.SiglipVisionConfig(**_SIGLIP, image_size=56),
        text_config=hf.Qwen2Config(**_text(tokenizer)), image_token_index=_id(tokenizer, "<image>"),
        vision_feature_select_strategy="full", vision_feature_layer=-1,
    )  # fmt: skip
    images = hf.SiglipImageProcessorPil(size={"height": 56, "width": 56})
    processor = hf.LlavaProcessor(
        images, tokenizer, patch_size=14, vision_feature_select_strategy="full", image_token="<image>",
        chat_template=tokenizer.chat_template,
    )  # fmt: skip
    return hf.LlavaForConditionalGeneration(config), processor, tokenizer


def _llava_onevision(made: Made) -> tuple[Any, Any, Any]:
    import transformers as hf

    tokenizer = made("<image>", "<image>", "<video>")
    grid = [[56, 56], [56, 112], [112, 56], [112, 112]]
    config = hf.LlavaOnevisionConfig(
        vision_config=hf.SiglipVisionConfig(**_SIGLIP, image_size=56), text_config=hf.Qwen2Config(**_text(tokenizer)),
        image_token_index=_id(tokenizer, "<image>"), video_token_index=_id(tokenizer, "<video>"),
        vision_feature_select_strategy="full", vision_feature_layer=-1, image_grid_pinpoints=grid,
    )  # fmt: skip
    images = hf.LlavaOnevisionImageProcessorPil(size={"height": 56, "width": 56}, image_grid_pinpoints=grid)
    processor = hf.LlavaOnevisionProcessor(
        images, tokenizer, None, num_image_tokens=16, vision_feature_select_strategy="full", image_token="<image>",
        video_token="<video>", chat_template=tokenizer.chat_template,
    )  # fmt: skip
    return hf.LlavaOnevisionForConditionalGeneration(config), processor, tokenizer


def _gemma3(made: Made) -> tuple[Any, Any, Any]:
    import transformers as hf

    marks = ("<start_of_image>", "<end_of_image>", "<image_soft_token>")
    tokenizer = made("<start_of_image>", *marks)
    tokenizer = hf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>",
        bos_token="<|im_start|>", padding_side="left", chat_template=tokenizer.chat_template,
        model_max_length=tokenizer.model_max_length,
        extra_special_tokens=dict(zip(("boi_token", "eoi_token", "image_token"), marks, strict=True)),
    )  # fmt: skip
    config = hf.Gemma3Config(
        text_config=_text(tokenizer, sliding_window=16, layer_types=["sliding_attention", "full_attention"],
                          query_pre_attn_scalar=16),
        vision_config=_SIGLIP | {"image_size": 56}, mm_tokens_per_image=4,
        boi_token_index=_id(tokenizer, marks[0]), eoi_token_index=_id(tokenizer, marks[1]),
        image_token_index=_id(tokenizer, marks[2]), tie_word_embeddings=False,  # tied, it says one word again and again
    )  # fmt: skip
    images = hf.Gemma3ImageProcessorPil(size={"height": 56, "width": 56})
    processor = hf.Gemma3Processor(images, tokenizer, chat_template=tokenizer.chat_template, image_seq_length=4)
    return hf.Gemma3ForConditionalGeneration(config), processor, tokenizer


def _idefics3(made: Made) -> tuple[Any, Any, Any]:
    import transformers as hf

    cells = [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]
    tokenizer = made("<image>", "<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>", *cells)
    config = hf.Idefics3Config(
        vision_config=_SIGLIP | {"image_size": 56}, text_config=hf.LlamaConfig(**_text(tokenizer)),
        image_token_id=_id(tokenizer, "<image>"), scale_factor=2, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    images = hf.Idefics3ImageProcessorPil(
        size={"longest_edge": 112}, max_image_size={"longest_edge": 56}, do_image_splitting=True
    )
    processor = hf.Idefics3Processor(images, tokenizer, image_seq_len=4, chat_template=tokenizer.chat_template)
    return hf.Idefics3ForConditionalGeneration(config), processor, tokenizer


def _come_to_an_end(model: Any, tokenizer: Any, brevity: float) -> None:
    """Add to the scores of ending tokens: by a coordinate that every token sets and that outweighs all others."""
    import torch

    tokens = tokenizer.get_vocab()
    ends = [place for token, place in tokens.items() if set(token) & set('"]}') or token == tokenizer.eos_token]
    into, out = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    assert into is not out
    with torch.no_grad():
        into[:, 0], out[:, 0] = 100.0, 0.0
        out[ends, 0] = brevity / into.shape[1] ** 0.5


def build(
    family: str,
    directory: Path,
    seed: int = 0,
    words: Sequence[str] = _WORDS,
    tokens: int = 360,
    context: int = 4096,
    brevity: float = 0.0,
) -> Path:
    """Write the checkpoint of a family, with the weights that the seed draws and a tokenizer made for ``words``.

    ``brevity``: added to the scores of tokens that end something: an answer, a string, a list.
    """
    import torch

    from annotators.engines.transformers_checkpoint import without_video

    without_video()
    made = partial(_tokenizer, words, tokens, context)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, processor, tokenizer = {
            "qwen2_5_vl": lambda: _qwen(made, "2.5"), "qwen3_vl": lambda: _qwen(made, "3"),
            "llava": lambda: _llava(made), "llava_onevision": lambda: _llava_onevision(made),
            "gemma3": lambda: _gemma3(made), "idefics3": lambda: _idefics3(made),
        }[family]()  # fmt: skip
    if brevity:
        _come_to_an_end(model, tokenizer, brevity)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
    return directory
