"""What fairseq calls the tensors of a HuBERT, and those who began from it."""


def fairseq_name(name, form):
    """A name of transformers' HubertModel as fairseq has it."""
    if name.startswith("feature_extractor."):
        _, _, layer, part, kind = name.split(".")
        norm = "2.1" if form == "large" else "2"
        return f"feature_extractor.conv_layers.{layer}.{'0' if part == 'conv' else norm}.{kind}"
    for theirs, ours in {
        "masked_spec_embed": "mask_emb",
        "feature_projection.layer_norm": "layer_norm",
        "feature_projection.projection": "post_extract_proj",
        "pos_conv_embed.conv.parametrizations.weight.original0": "pos_conv.0.weight_g",
        "pos_conv_embed.conv.parametrizations.weight.original1": "pos_conv.0.weight_v",
        "pos_conv_embed.conv": "pos_conv.0",
        ".attention.": ".self_attn.",
        "feed_forward.intermediate_dense": "fc1",
        "feed_forward.output_dense": "fc2",
    }.items():
        name = name.replace(theirs, ours)
    if name.startswith("encoder.layers."):
        name = name.replace(".layer_norm.", ".self_attn_layer_norm.")
    return name
