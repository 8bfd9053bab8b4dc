"""GPT-2 of Hugging Face, trained on the data of a study: an example of a training function.

Needs `pip install transformers` (the extra `hf`). It differs from the built-in decoder with the options of gpt2.yaml in
nothing but whose code it is: initialisation and order of operations are those of the library.
"""

import torch
import torch.nn.functional as F
from transformers import GPT2Config, GPT2LMHeadModel

from grokstudy.trainables.functions import trainable

MODEL = ("model.layers", "model.width", "model.heads")
OPTIM = ("optim.lr", "optim.weight_decay", "optim.warmup", "optim.beta1", "optim.beta2", "optim.eps")


@trainable(uses=(*MODEL, *OPTIM, "train.batch"), columns={"clipped": int}, prefix_stable=True)
def train(config, run):
    """One run: called by the worker, with its configuration and what it is given."""
    torch.manual_seed(config.seed)
    shape, optim = config.example, config.optim
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=shape.fields[0],
            n_positions=shape.longest,
            n_layer=config.model.layers,
            n_embd=config.model.width,
            n_head=config.model.heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            use_cache=False,
            bos_token_id=None,
            eos_token_id=None,
        )
    ).to(run.device)
    optimiser = torch.optim.AdamW(
        model.parameters(),
        lr=optim.lr,
        betas=(optim.beta1, optim.beta2),
        eps=optim.eps,
        weight_decay=optim.weight_decay,
    )
    if run.restored is not None:
        model.load_state_dict(run.restored["model"])
        optimiser.load_state_dict(run.restored["optimiser"])

    def save():
        return {"model": model.state_dict(), "optimiser": optimiser.state_dict()}

    def answers(inputs, at):
        """Logits (B, A, V) where the answers are read."""
        logits = model(input_ids=inputs).logits
        return logits.gather(1, at[..., None].expand(-1, -1, logits.shape[-1]))

    @torch.no_grad()
    def evaluate(step):
        low, high = shape.range
        for name, split in run.data.splits.items():
            inputs, at, target = (torch.as_tensor(x, device=run.device) for x in (split.inputs, split.at, split.target))
            logits = answers(inputs, at)
            right = (logits[..., low:high].argmax(dim=-1) + low == target).all(dim=1).float().mean().item()
            loss = F.cross_entropy(logits.flatten(0, 1), target.flatten()).item()
            run.evaluate(step, name, accuracy=right, loss=loss)

    for step in run.steps(save, evaluate):
        rate = optim.lr * min(1.0, (step + 1) / max(optim.warmup, 1))
        for group in optimiser.param_groups:
            group["lr"] = rate
        batch = run.batch(step)
        logits = answers(batch.inputs_MBx[0], batch.at_MBA[0])
        loss = F.cross_entropy(logits.flatten(0, 1), batch.target_MBAx[0].flatten())
        optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        run.log(step, loss=loss.item(), grad_norm=norm.item(), lr=rate, clipped=int(norm > 1.0))
