import numpy as np
import pytest
import torch

from ccformer_hf import AudioVisualProcessor
from ccformer_hf.inference import following
from ccformer_hf.inference.following import follow
from ccformer_hf.model.media_ccformer import SampledFrames
from ccformer_hf.model.sliding_window_ccformer import FrameProbabilities

SIZE = (64, 96)
PROCESSOR = AudioVisualProcessor()
SURE = AudioVisualProcessor(score_calibration=[2.0, -10.0], unseen_calibration=[0.5, 1.0])
BACKGROUND = np.random.default_rng(0).integers(40, 200, (16, 24, 3)).repeat(4, 0).repeat(4, 1).astype(np.uint8)


def picture(number: int) -> np.ndarray:
    """A red square that moves 3 pixels per frame."""
    frame = BACKGROUND.copy()
    frame[16:48, 6 + 3 * number : 38 + 3 * number] = (250, 20, 20)
    return frame


def said(number: int) -> FrameProbabilities:
    """Class 2 of 3, where the square is."""
    maps = torch.zeros(4, *SIZE)
    maps[2, 16:48, 6 + 3 * number : 38 + 3 * number] = 1
    maps[0] = 1 - maps[2]
    return FrameProbabilities(maps, True, SIZE)


def watched(counts):
    for number, count in enumerate(counts):
        yield number / 25, picture(number), count, picture(number) if count else None


def followed(counts, answers, threshold=0.5, ahead=1, processor=PROCESSOR):
    """Frames with so many looks each; `ahead` pictures are taken before the first answer, as windows do."""
    samples = SampledFrames(np.arange(sum(counts)) / 5, np.arange(sum(counts)) / 5, 9.0)

    def predict(pictures):
        waiting = iter(answers)
        taken = [next(pictures) for _ in range(ahead)]
        for number in range(sum(counts)):
            yield next(waiting)
            if number + len(taken) < sum(counts):
                next(pictures)

    return list(follow(watched(counts), predict, samples, threshold, processor))


@pytest.mark.parametrize("ahead", [1, 2])
def test_every_frame_has_the_mask_where_its_object_is(ahead):
    counts = [0, 0, 1, 0, 0, 0, 0, 1, 0, 0]
    frames = followed(counts, [said(2), said(7)], ahead=ahead)
    assert [frame.time for frame in frames] == [number / 25 for number in range(10)]
    assert [len(frame.looks) for frame in frames] == counts
    for number, frame in enumerate(frames):
        found, wanted = frame.class_map == 2, said(number).probabilities[2].numpy() > 0.5
        least = 0.85 if 2 <= number <= 7 else 0.65  # between two looks, with one only
        assert (found & wanted).sum() / (found | wanted).sum() > least
        assert set(np.unique(frame.class_map)) == {0, 2}
    looks = [look for frame in frames for look in frame.looks]
    assert [(look.index, look.time, look.start, look.end) for look in looks] == [(0, 0, 0, 0.2), (1, 0.2, 0.2, 9.0)]
    assert (frames[2].class_map == looks[0].class_map).all() and looks[0].scores[2] > 0.9


def test_scores_are_how_sure_the_model_says_it_is():
    (first, _), (second, _) = (
        [look for frame in followed([1, 1], [said(0), said(1)], processor=processor) for look in frame.looks]
        for processor in (PROCESSOR, SURE)
    )
    assert second.scores[2] == pytest.approx(SURE.confidence(first.scores[2])) and second.scores[2] < first.scores[2]
    assert [one.score for one in second.objects] == pytest.approx(
        [SURE.confidence(one.score) for one in first.objects]
    )
    assert (first.unseen, second.unseen) == (PROCESSOR.unseen(1.0), SURE.unseen(1.0))
    assert (first.class_map == second.class_map).all()


def test_only_sure_classes_are_marked():
    """Beside the square something sounds with 0.8, but neither class 1 nor class 3 reaches 0.5."""
    look = said(0)
    look.probabilities[:, :, 60:] = torch.tensor([0.2, 0.35, 0.0, 0.45])[:, None, None]
    for share, wanted in ((0.0, {0, 2, 3}), (1.0, {0, 2})):
        frames = followed([1, 0], [look], processor=AudioVisualProcessor(class_threshold=share))
        assert [set(np.unique(frame.class_map)) for frame in frames] == [wanted] * 2
        assert set(frames[0].looks[0].scores) == wanted - {0}
        assert frames[0].looks[0].unseen == PROCESSOR.unseen(1.0)  # the square is in view, whatever is named


def test_several_looks_at_one_frame_start_and_end_their_own_spans():
    nothing = FrameProbabilities(torch.eye(4)[0][:, None, None].expand(4, *SIZE), False, SIZE)
    frames = followed([1, 0, 2, 0, 1], [said(0), said(2), nothing, nothing])
    assert [len(frame.looks) for frame in frames] == [1, 0, 2, 0, 1]
    # The second look at the third frame heard nothing more.
    assert [frame.class_map.any() for frame in frames] == [True, True, True, False, False]
    assert [look.has_audio for frame in frames for look in frame.looks] == [True, True, False, False]
    assert [look.unseen is None for frame in frames for look in frame.looks] == [False, False, True, True]


def test_looks_only():
    frames = followed([1, 1, 1], [said(0), said(1), said(2)])
    assert [len(frame.looks) for frame in frames] == [1, 1, 1]


def test_a_class_that_is_nowhere_the_likeliest_costs_nothing(monkeypatch):
    maps = torch.full((9, *SIZE), 0.05)
    maps[2, :, :48], maps[5, :, 48:] = 0.55, 0.55
    maps[0] = 1 - maps[1:].sum(axis=0)
    counts = []
    carry = following.guided
    monkeypatch.setattr(following, "guided", lambda maps, small: counts.append(len(maps)) or carry(maps, small))
    frames = followed([1, 0, 1], [FrameProbabilities(maps, True, SIZE)] * 2)
    assert counts == [3, 3, 3] and set(np.unique(frames[1].class_map)) == {2, 5}


def two(number: int, second: bool = True) -> FrameProbabilities:
    """Two squares of class 2 that move 2 pixels per frame, away from each other."""
    maps = torch.zeros(4, *SIZE)
    for left in (36 - 2 * number, 56 + 2 * number)[: 2 if second else 1]:
        maps[2, 20:36, left : left + 16] = 1
    maps[0] = 1 - maps[2]
    return FrameProbabilities(maps, True, SIZE)


def picture_of_two(number: int, cut: bool = False) -> np.ndarray:
    frame = np.roll(BACKGROUND, 37, axis=1)[::-1].copy() if cut else BACKGROUND.copy()
    for left, colour in ((36 - 2 * number, (250, 20, 20)), (56 + 2 * number, (20, 20, 250))):
        frame[20:36, left : left + 16] = colour
    return frame


def followed_two(said_at, pictures):
    looks = len(said_at)
    frames = ((n / 25, frame, int(n in said_at), frame) for n, frame in enumerate(pictures))
    samples = SampledFrames(np.arange(looks) / 5, np.arange(looks) / 5, 9.0)

    def predict(pictures):
        for _, answer in zip(pictures, said_at.values(), strict=False):
            yield answer

    return list(follow(frames, predict, samples, 0.5, PROCESSOR))


def test_objects_of_a_class_keep_their_numbers_in_every_frame_and_while_silent():
    looks = {0: two(0), 5: two(5), 9: two(9, second=False), 13: two(13)}
    frames = followed_two(looks, [picture_of_two(number) for number in range(14)])
    seen = [[one.number for one in look.objects] for frame in frames for look in frame.looks]
    assert seen == [[1, 2], [1, 2], [1], [1, 2]]
    for number in range(6):
        left, right = 36 - 2 * number + 8, 56 + 2 * number + 8
        assert (frames[number].object_map[28, left], frames[number].object_map[28, right]) == (1, 2)
        assert ((frames[number].object_map > 0) == (frames[number].class_map > 0)).all()
    assert frames[9].object_map is None  # one of each class


def test_behind_a_cut_objects_have_new_numbers():
    pictures = [picture_of_two(number, cut=number > 2) for number in range(6)]
    frames = followed_two({0: two(0), 5: two(5)}, pictures)
    assert [[one.number for one in look.objects] for frame in frames for look in frame.looks] == [[1, 2], [3, 4]]
