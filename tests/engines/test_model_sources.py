"""The models on the volume, known once for all cards and requests."""

from fakes.headers import scaled, transformer, write_header
from wanworker.engines.model_sources import sources_of
from wanworker.settings import Card

FIVE_B = scaled(transformer(48, 48, dtype="F8_E4M3"))


def test_all_cards_share_what_is_known_of_the_same_folders(make_settings, tmp_path):
    settings = make_settings(ckpt_dir=tmp_path / "models")
    cards = [sources_of(settings.on_card(Card(place, str(place), place=place))) for place in range(3)]

    assert all(known is cards[0] for known in cards)
    assert sources_of(make_settings(ckpt_dir=tmp_path / "models")) is cards[0]
    assert sources_of(make_settings(ckpt_dir=tmp_path / "others")) is not cards[0]
    assert sources_of(make_settings(ckpt_dir=tmp_path / "models", comfyui_root=tmp_path)) is not cards[0]


def test_a_file_that_is_new_or_replaced_is_seen(make_settings, tmp_path):
    settings = make_settings(ckpt_dir=tmp_path / "models")
    folder = tmp_path / "models" / "diffusion_models"
    write_header(folder / "a.safetensors", FIVE_B)
    assert sources_of(settings).names() == {"a.safetensors": "ti2v-5B"}

    write_header(folder / "b.safetensors", FIVE_B)
    assert [*sources_of(settings).names()] == ["a.safetensors", "b.safetensors"]
    write_header(folder / "a.safetensors", scaled(transformer(16, 16, dtype="F8_E4M3")))
    assert [*sources_of(settings).names()] == ["b.safetensors"]
