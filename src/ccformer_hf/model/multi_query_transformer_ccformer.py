"""Multi-query Transformer Module (MTM): audio, frame and video queries become classes and masks.

Letters in the shapes: B clips, T frames, Q frame queries, V video queries, L audio tokens, D width, K labels, H W
picture, h w feature map, N tokens of a frame.
"""

import math

import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from .configuration_ccformer import CCFormerConfig
from .layers_ccformer import (
    CCFormerAttention,
    CCFormerFeedForward,
    CCFormerMLP,
    CCFormerTable,
    additive_mask,
    padding_mask,
    position_embedding,
    resize,
)


class CCFormerQueryGenerator(nn.Module):
    """Learned queries read the sound of their second and become audio queries (*lineage*).

    *Ours*: the L audio tokens of a second are the original one and those that EIM enriched with each scale's picture.
    """

    def __init__(self, config: CCFormerConfig):
        super().__init__()
        self.query = CCFormerTable(config.num_queries, config.hidden_size)
        self.attention = CCFormerAttention(config)
        self.norm = nn.LayerNorm(config.hidden_size)
        self.feed_forward = CCFormerFeedForward(config)

    def forward(self, audio_tokens: Tensor) -> Tensor:
        """`(B, T, L, D)` -> `(B, T, Q, D)`."""
        batch, frames, _, width = audio_tokens.shape
        queries = self.query().expand(batch * frames, -1, -1)  # (B*T, Q, D)
        tokens = self.norm(audio_tokens).flatten(0, 1)  # (B*T, L, D)
        attended, _ = self.attention(queries, tokens, tokens)  # (B*T, Q, D)
        return self.feed_forward(queries + attended).view(batch, frames, -1, width)  # (B, T, Q, D)


class CCFormerVideoExchange(nn.Module):
    """Video queries gather from the queries of all frames, exchange, and hand back; its cost is linear in T.

    *Lineage*: the cross-attention and feed-forward network. *Ours*: doing it in every decoder layer.
    """

    def __init__(self, config: CCFormerConfig):
        super().__init__()
        width = config.hidden_size
        self.gather_norm, self.frame_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.gather = CCFormerAttention(config)
        self.exchange_norm = nn.LayerNorm(width)
        self.exchange = CCFormerAttention(config)
        self.feed_forward = CCFormerFeedForward(config)
        self.return_norm, self.video_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.hand_back = CCFormerAttention(config)

    def forward(
        self,
        queries: Tensor,  # (B, T, Q, D)
        video: Tensor,  # (B, V, D)
        time_embed: Tensor,  # (T, D)
        query_mask: Tensor | None,  # additive (B, 1, V, T*Q)
    ) -> tuple[Tensor, Tensor]:
        time_embed = time_embed[:, None]  # (T, 1, D), the same for all queries of a frame
        # 1. Video queries gather from the queries of all frames.
        normed = self.frame_norm(queries)
        keys, values = (normed + time_embed).flatten(1, 2), normed.flatten(1, 2)  # (B, T*Q, D)
        video = video + self.gather(self.gather_norm(video), keys, values, query_mask)[0]
        # 2. They exchange what they have gathered.
        normed = self.exchange_norm(video)
        video = self.feed_forward(video + self.exchange(normed, normed, normed)[0])
        # 3. The queries of each frame read it back.
        readers = (self.return_norm(queries) + time_embed).flatten(1, 2)  # (B, T*Q, D)
        normed = self.video_norm(video)
        attended, _ = self.hand_back(readers, normed, normed)  # (B, T*Q, D)
        return queries + attended.view_as(queries), video


class CCFormerDecoderLayer(GradientCheckpointingLayer):
    """One MTM layer (*paper*: frame and video relations modelled at the same time).

    Frame level: masked cross-attention to the pixels of that frame, self-attention, feed-forward. Video level: see
    `CCFormerVideoExchange`.
    """

    def __init__(self, config: CCFormerConfig):
        super().__init__()
        width = config.hidden_size
        self.cross_norm = nn.LayerNorm(width)
        self.cross_attn = CCFormerAttention(config)
        self.self_norm = nn.LayerNorm(width)
        self.self_attn = CCFormerAttention(config)
        self.feed_forward = CCFormerFeedForward(config)
        self.video_exchange = CCFormerVideoExchange(config) if config.use_video_queries else None

    def forward(
        self,
        queries: Tensor,  # (B, T, Q, D)
        video: Tensor | None,  # (B, V, D)
        query_embed: Tensor,  # (Q, D)
        pixels: Tensor,  # (B*T, N, D)
        pixel_embed: Tensor,  # (N, D)
        pixel_mask: Tensor,  # additive (B*T, 1, Q, N)
        time_embed: Tensor,  # (T, D)
        query_mask: Tensor | None,  # additive (B, 1, V, T*Q)
    ) -> tuple[Tensor, Tensor | None]:
        shape = queries.shape
        queries = queries.flatten(0, 1)  # (B*T, Q, D): each frame by itself
        normed = self.cross_norm(queries)
        queries = queries + self.cross_attn(normed + query_embed, pixels + pixel_embed, pixels, pixel_mask)[0]
        normed = self.self_norm(queries)
        queries = queries + self.self_attn(normed + query_embed, normed + query_embed, normed)[0]
        queries = self.feed_forward(queries).view(shape)  # (B, T, Q, D)
        if self.video_exchange is not None:
            queries, video = self.video_exchange(queries, video, time_embed, query_mask)
        return queries, video


class CCFormerMaskHead(nn.Module):
    """Queries -> their class logits `(B, T, Q, K)` and mask embeddings `(B, T, Q, D)` (*lineage*, Mask2Former).

    *Ours*, with `use_audio_classifier`: the p(class) of every query are multiplied by how probable it is, by the sound
    of the frame alone, that the class sounds, and scaled to sum to 1 again: a class that is hardly heard loses to "no
    object" and to the others, unless the query is very sure of it.
    """

    def __init__(self, config: CCFormerConfig):
        super().__init__()
        width = config.hidden_size
        self.norm = nn.LayerNorm(width)
        self.label = nn.Linear(width, config.num_labels)
        self.mask = CCFormerMLP(width, width, width)

    def forward(self, queries: Tensor, log_heard: Tensor | None) -> tuple[Tensor, Tensor]:
        """Queries `(B, T, Q, D)`, `log_heard (B, T, 1, K)` of their frames -> class logits and mask embeddings."""
        queries = self.norm(queries)
        class_logits = self.label(queries)
        if log_heard is not None:
            class_logits = class_logits + log_heard
        return class_logits, self.mask(queries)


class CCFormerMultiQueryTransformer(nn.Module):
    """Multi-query Transformer Module (*paper*): audio, frame and video queries in one stack of layers."""

    def __init__(self, config: CCFormerConfig):
        super().__init__()
        self.query_generator = CCFormerQueryGenerator(config)
        self.query_code = CCFormerTable(config.num_queries, config.hidden_size)
        self.video_query = (
            CCFormerTable(config.num_video_queries, config.hidden_size) if config.use_video_queries else None
        )
        self.layers = nn.ModuleList([CCFormerDecoderLayer(config) for _ in range(config.decoder_layers)])
        self.head = CCFormerMaskHead(config)

    def forward(
        self,
        multi_scale_features: list[Tensor],  # strides 8, 16, 32, each (B*T, h, w, D)
        mask_features: Tensor,  # stride 4, (B*T, H/4, W/4, D)
        audio_tokens: Tensor,  # (B, T, L, D)
        time_embed: Tensor,  # (T, D)
        frame_mask: Tensor | None,  # (B, T)
        log_heard: Tensor | None,  # of the audio classifier, (B, T, 1, K)
        every_prediction: bool = False,  # those before each layer too, for deep supervision
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Returns the queries, and per prediction their class logits and mask logits.

        Shapes: `(B, T, Q, D)`, `(B, T, Q, K)` each, `(B, T, Q, H/4, W/4)` each.
        """
        queries = self.query_generator(audio_tokens)  # (B, T, Q, D)
        video, query_mask = None, None
        if self.video_query is not None:
            video = self.video_query().expand(queries.shape[0], -1, -1)  # (B, V, D)
            query_mask = padding_mask(frame_mask, queries.shape[2], video.shape[1], video.dtype)  # (B, 1, V, T*Q)
        pixels = [m.flatten(1, 2) for m in multi_scale_features]  # (B*T, N, D)
        pixel_embed = [position_embedding(m).flatten(0, 1) for m in multi_scale_features]  # (N, D)
        # Bilinear resizing and the product with the mask embedding commute, so a layer's attention mask is made from
        # resized features: the same numbers as resizing the full mask, at a fraction of the work.
        small_mask_features = [resize(mask_features, m.shape[1:3]).flatten(1, 2) for m in multi_scale_features]

        class_queries_logits, masks_queries_logits = [], []
        for index, layer in enumerate(self.layers):
            class_logits, mask_embed = self.head(queries, log_heard)
            if every_prediction:
                class_queries_logits.append(class_logits)
                masks_queries_logits.append(self.predict_masks(mask_embed, mask_features))
            level = 2 - index % 3  # strides 32, 16, 8, 32, ...
            # Masked attention: a query reads only where the mask it has so far is more likely than not.
            inside = mask_embed.flatten(0, 1) @ small_mask_features[level].transpose(1, 2)  # (B*T, Q, N)
            inside = inside.detach() > 0
            empty = ~inside.any(dim=-1, keepdim=True)  # (B*T, Q, 1)
            inside = inside | empty  # an empty mask attends everywhere, else softmax gives NaN
            pixel_mask = additive_mask(inside, mask_features.dtype)[:, None]  # (B*T, 1, Q, N)
            queries, video = layer(
                queries,
                video,
                self.query_code(),
                pixels[level],
                pixel_embed[level],
                pixel_mask,
                time_embed,
                query_mask,
            )
        class_logits, mask_embed = self.head(queries, log_heard)
        class_queries_logits.append(class_logits)
        masks_queries_logits.append(self.predict_masks(mask_embed, mask_features))
        return queries, class_queries_logits, masks_queries_logits

    @staticmethod
    def predict_masks(mask_embed: Tensor, mask_features: Tensor) -> Tensor:
        """Mask embeddings `(B, T, Q, D)`, mask features `(B*T, h, w, D)` -> mask logits `(B, T, Q, h, w)`."""
        pixels = mask_features.flatten(1, 2).transpose(1, 2)  # (B*T, D, h*w)
        masks = mask_embed.flatten(0, 1) @ pixels  # (B*T, Q, h*w)
        return masks.view(*mask_embed.shape[:3], *mask_features.shape[1:3])  # (B, T, Q, h, w)


def join_queries(class_queries_logits: Tensor, masks_queries_logits: Tensor) -> Tensor:
    """Queries `(..., Q, K)`, `(..., Q, h, w)` -> log-probability of each label, `(..., K, h, w)` (*ours*).

    A cell is background if no query claims it, each claiming it with p(object) * p(mask): the product over all
    queries. What is left goes to the labels in proportion to sum_q p_q(label) * p_q(mask). For one query this is
    Mask2Former's map; for many, unlike their sum, it never passes 1 and keeps a gradient everywhere.
    """
    label = class_queries_logits.float().softmax(-1)[..., 1:]  # (..., Q, K-1)
    mask = masks_queries_logits.float().sigmoid()  # (..., Q, h, w)
    claim = mask * label.sum(-1)[..., None, None]  # (..., Q, h, w)
    log_background = torch.log1p(-claim.clamp(max=1 - 1e-6)).sum(-3, keepdim=True)  # (..., 1, h, w)
    share = torch.einsum("...qk,...qhw->...khw", label, mask).clamp(min=1e-12)  # (..., K-1, h, w)
    # 1 - background; expm1 keeps the digits where hardly anything sounds
    foreground = -torch.expm1(log_background)  # (..., 1, h, w)
    log_labels = (foreground * share / share.sum(-3, keepdim=True)).clamp(min=1e-7).log()
    return torch.cat([log_background.clamp(min=math.log(1e-7)), log_labels], dim=-3)  # (..., K, h, w)
