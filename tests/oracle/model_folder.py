"""Exported folders load in transformers with the logits of the trainer; folders of transformers come in bit for bit.

usage: model_folder.py PATH/model_folder_tool PATH/skerry-trainer
"""

import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
import transformers

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import eager_llama  # noqa: E402
import gradients  # noqa: E402

BAR = 1e-4
BASE = dict(vocab_size=256, hidden_size=128, intermediate_size=352, num_hidden_layers=4, num_attention_heads=2,
            num_key_value_heads=2, head_dim=64, max_position_embeddings=256, rms_norm_eps=1e-5, rope_theta=10000.0,
            initializer_range=0.06, tie_word_embeddings=True)
MODELS = {"the demo's": {}, "grouped, untied, other theta": dict(num_attention_heads=8, num_key_value_heads=2, head_dim=16,
                                                                 rope_theta=500000.0, tie_word_embeddings=False)}


def exported(tool, trainer, name, folder):
    config = BASE | MODELS[name]
    theta = eager_llama.initial(config)
    tokens = np.frombuffer(b"It was quite so improper, with the cousins and age and east next; and her mind meaning" * 4, np.uint8)[:257]
    seq = 256
    gradients.write_shard(f"{folder}/data.bin", tokens)
    theta.numpy().tofile(f"{folder}/theta.f32")
    with open(f"{folder}/config.json", "w") as f:
        json.dump(config, f)
    train = dict(batch=1, seq=seq, schedule="constant", precision="fp32")
    with open(f"{folder}/order.json", "w") as f:
        json.dump(dict(model=config, train=train, theta=f"{folder}/theta.f32", data=f"{folder}/data.bin", sequences=[0],
                       steps=0, lr=0.0, out=folder), f)
    subprocess.run([trainer, "--oracle", f"{folder}/order.json", "--threads", "1"], check=True, stdout=subprocess.DEVNULL)
    ours = np.fromfile(f"{folder}/logits.f32", dtype="<f4").reshape(seq, config["vocab_size"])
    subprocess.run([tool, "export", f"{folder}/config.json", f"{folder}/theta.f32", f"{folder}/model"], check=True)
    model = transformers.AutoModelForCausalLM.from_pretrained(f"{folder}/model", dtype=torch.float32)
    with torch.no_grad():
        theirs = model(torch.tensor(tokens[:seq].astype(np.int64))[None]).logits[0].numpy()
    error = float(np.abs(ours - theirs).max())
    tokenizer = transformers.AutoTokenizer.from_pretrained(f"{folder}/model")
    text = "Emma — «naïve» \n\t 42!"
    ids = tokenizer(text)["input_ids"]
    bytes_ok = ids == list(text.encode()) and tokenizer.decode(ids) == text
    ok = error <= BAR and bytes_ok
    print(f"{'ok' if ok else 'FAIL'}  {name}: transformers {transformers.__version__} logits differ by {error:.1e} (bar {BAR:.0e}), "
          f"tokenizer {'is' if bytes_ok else 'is not'} bytes")
    return ok, model, theta, error


def imported(tool, model, theta, folder, dtype):
    out = f"{folder}/theirs-{dtype}"
    model.to(dtype).save_pretrained(out, max_shard_size="1MB")
    subprocess.run([tool, "import", out, f"{folder}/back.f32"], check=True, stdout=subprocess.DEVNULL)
    back = np.fromfile(f"{folder}/back.f32", dtype="<f4")
    ok = np.array_equal(back, theta.to(dtype).float().numpy())
    print(f"{'ok' if ok else 'FAIL'}  import of {len(os.listdir(out))} files in {dtype}: {'equal' if ok else 'different'}")
    return ok


LLAMA3 = dict(rope_type="llama3", rope_theta=20000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)
FOREIGN_BASE = dict(vocab_size=300, hidden_size=64, intermediate_size=112, num_hidden_layers=3, num_attention_heads=8, num_key_value_heads=2,
                    max_position_embeddings=256, initializer_range=0.1)
# Family, what is special, weights' type, largest file.
FOREIGN = [
    ("Llama", dict(rope_parameters=LLAMA3, tie_word_embeddings=False), torch.float32, "1GB"),
    ("Llama", dict(rope_parameters=LLAMA3, tie_word_embeddings=True), torch.bfloat16, "50KB"),
    ("Llama", dict(rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=4.0), attention_bias=True, head_dim=16), torch.float16, "50KB"),
    ("Qwen2", dict(rope_parameters=dict(rope_type="default", rope_theta=1e6), tie_word_embeddings=True), torch.bfloat16, "1GB"),
    ("Qwen2", dict(rope_parameters=dict(rope_type="default", rope_theta=1e6), tie_word_embeddings=False), torch.float32, "50KB"),
]
SEQ = 192


def trainer_logits(trainer, folder, config, theta_path, tokens):
    gradients.write_shard(f"{folder}/data.bin", tokens)
    order = dict(model=config, train=dict(batch=1, seq=SEQ, schedule="constant", precision="fp32"), theta=theta_path, data=f"{folder}/data.bin",
                 sequences=[0], steps=0, lr=0.0, out=folder)
    with open(f"{folder}/order.json", "w") as f:
        json.dump(order, f)
    subprocess.run([trainer, "--oracle", f"{folder}/order.json", "--threads", "1"], check=True, stdout=subprocess.DEVNULL)
    return np.fromfile(f"{folder}/logits.f32", dtype="<f4").reshape(SEQ, config["vocab_size"])


def their_logits(folder, tokens):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        return model(torch.tensor(tokens[:SEQ].astype(np.int64))[None]).logits[0].numpy()


def foreign(tool, trainer, family, special, dtype, largest, folder):
    """A folder made there: our logits are theirs, and so are those of the folder that we write again."""
    torch.manual_seed(11)
    config = getattr(transformers, family + "Config")(**FOREIGN_BASE | special)
    model = getattr(transformers, family + "ForCausalLM")(config)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim == 1:
                value.add_(torch.randn_like(value) * 0.2)  # norms and biases as a training leaves them
    model.to(dtype).save_pretrained(f"{folder}/theirs", max_shard_size=largest)
    files = sorted(name for name in os.listdir(f"{folder}/theirs") if name.endswith(".safetensors"))
    done = subprocess.run([tool, "import", f"{folder}/theirs", f"{folder}/theta.f32"], check=True, capture_output=True, text=True)
    ours = json.loads(done.stdout)
    tokens = np.random.default_rng(3).integers(0, FOREIGN_BASE["vocab_size"], SEQ + 1)
    theirs = their_logits(f"{folder}/theirs", tokens)
    error = float(np.abs(trainer_logits(trainer, folder, ours, f"{folder}/theta.f32", tokens) - theirs).max())
    with open(f"{folder}/ours.json", "w") as f:
        json.dump(ours, f)
    subprocess.run([tool, "export", f"{folder}/ours.json", f"{folder}/theta.f32", f"{folder}/again", "fp32", "60000"], check=True)
    again = float(np.abs(their_logits(f"{folder}/again", tokens) - theirs).max())
    ok = error <= BAR and again <= 1e-6 and (largest == "1GB") == (len(files) == 1)
    print(f"{'ok' if ok else 'FAIL'}  {family}, {dtype}, {len(files)} files, {special}: logits differ by {error:.1e} (bar {BAR:.0e}) of "
          f"{np.abs(theirs).max():.1f}; written again {again:.1e}")
    return ok, error


def main():
    tool, trainer = sys.argv[1:3]
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    good, errors = [], []
    for name in MODELS:
        with tempfile.TemporaryDirectory() as folder:
            ok, model, theta, error = exported(tool, trainer, name, folder)
            good.append(ok)
            errors.append(error)
            good += [imported(tool, model, theta, folder, dtype) for dtype in (torch.float32, torch.bfloat16)]
            if name == "the demo's":
                half = transformers.AutoModelForCausalLM.from_pretrained(f"{folder}/model", dtype=torch.float32)
                good.append(imported(tool, half, theta, folder, torch.float16))
    foreign_errors = []
    for case in FOREIGN:
        with tempfile.TemporaryDirectory() as folder:
            ok, error = foreign(tool, trainer, *case, folder)
            good.append(ok)
            foreign_errors.append(error)
    print(f"value: logits of {len(FOREIGN)} folders made by transformers differ by at most {max(foreign_errors):.1e}, of exported ones by {max(errors):.1e}")
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
