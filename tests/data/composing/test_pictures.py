import json

import numpy as np
import pytest
from made_sources import square, write_picture, write_sources, write_yaml
from PIL import Image

from ccformer_hf.data.composing.pictures import (
    VOC_CLASS_NAMES,
    CutOut,
    Photograph,
    cut_from,
    list_pictures,
    load_cut_out,
    load_photograph,
    without_fringe,
)
from ccformer_hf.data.composing.sources import read_sources


def sources(tmp_path, classes=("cat", "dog"), backgrounds=(), **entry):
    values = {"classes": list(classes), "pictures": [entry] if entry else [], "backgrounds": list(backgrounds)}
    return read_sources(write_yaml(tmp_path / "sources.yaml", values))


def grey(height, width, level=90):
    return np.full((height, width, 3), level, np.uint8)


# coco, lvis
# -----------------------------------------------------------------------------------------------------------

ANNOTATIONS = [
    {"id": 1, "image_id": 7, "category_id": 3, "area": 400, "segmentation": [[10, 10, 30, 10, 30, 30, 10, 30]]},
    # On top of the first, since it is smaller: rows 12 to 13 of column 20.
    {
        "id": 2,
        "image_id": 7,
        "category_id": 5,
        "area": 2,
        "segmentation": {"size": [40, 60], "counts": [812, 2, 1586]},
    },
    {"id": 3, "image_id": 7, "category_id": 9, "area": 2000, "segmentation": [[0, 0, 60, 0, 60, 40, 0, 40]]},
    {
        "id": 4,
        "image_id": 7,
        "category_id": 3,
        "area": 100,
        "iscrowd": 1,
        "segmentation": [[50, 0, 60, 0, 60, 10, 50, 10]],
    },
]
CATEGORIES = [{"id": 3, "name": "kitty"}, {"id": 5, "name": "dog"}, {"id": 9, "name": "chair"}]


def write_coco(tmp_path, annotations=ANNOTATIONS, image=None, categories=CATEGORIES):
    write_picture(tmp_path / "train2017" / "7.png", grey(40, 60))
    image = {"id": 7, "file_name": "7.png", "height": 40, "width": 60, **(image or {})}
    table = {"images": [image], "annotations": annotations, "categories": categories}
    (tmp_path / "instances.json").write_text(json.dumps(table))
    return {"format": "coco", "path": "instances.json", "root": "train2017", "split": "train", "map": {"cat": "kitty"}}


def test_coco(tmp_path):
    (picture,) = list_pictures(sources(tmp_path, **write_coco(tmp_path)))
    assert (picture.kind, picture.split, picture.classes) == ("scene", "train", (1, 2)), (
        "the one that covers most first"
    )
    expected = np.zeros((40, 60), np.uint8)
    expected[10:30, 10:30] = 1
    expected[12:14, 20] = 2
    expected[0:10, 50:60] = 255
    np.testing.assert_array_equal(load_photograph(picture, 1000).ids, expected)
    assert load_photograph(picture, 1000).rgb.shape == (40, 60, 3)
    half = load_photograph(picture, 20)
    assert half.rgb.shape == (20, 30, 3) and half.ids[5:15, 5:15].all() and half.ids[5:15, 5:15].sum() <= 101


def test_lvis_names_its_files_by_address(tmp_path):
    entry = write_coco(
        tmp_path, image={"file_name": None, "coco_url": "http://images.cocodataset.org/train2017/7.png"}
    )
    assert list_pictures(sources(tmp_path, **entry))[0].file == str(tmp_path / "train2017" / "7.png")
    assert list_pictures(sources(tmp_path, **{**entry, "format": "lvis", "root": "."}))[0].file.endswith(
        "train2017/7.png"
    )


def test_what_coco_and_lvis_mark_in_the_same_picture_goes_together(tmp_path):
    coco = write_coco(tmp_path)
    lvis = {"images": [{"id": 7, "coco_url": "http://x/train2017/7.png", "height": 40, "width": 60}]}
    shape = [[40, 30, 60, 30, 60, 40, 40, 40]]
    lvis["annotations"] = [{"id": 1, "image_id": 7, "category_id": 4, "area": 200, "segmentation": shape}]
    (tmp_path / "lvis.json").write_text(json.dumps({**lvis, "categories": [{"id": 4, "name": "guitar"}]}))
    pictures = [{**coco, "split": None}, {"format": "lvis", "path": "lvis.json", "root": ".", "split": None}]
    pictures = [{name: value for name, value in entry.items() if value} for entry in pictures]
    values = {"classes": ["cat", "dog", "guitar"], "pictures": pictures}
    (picture,) = list_pictures(read_sources(write_yaml(tmp_path / "sources.yaml", values)))
    assert picture.classes == (1, 2, 3), "so none of them is heard from off screen there"
    ids = load_photograph(picture, 1000).ids
    assert (ids[10:30, 10:20] == 1).all() and (ids[30:, 40:] == 3).all()


def test_a_picture_that_is_named_twice_as_something_else(tmp_path):
    write_picture(tmp_path / "a.png", square((1, 2, 3)))
    rows = "kind,file,mask,classes,split\ncutout,a.png,,cat,train\n"
    for second, fine in (("cutout,a.png,,cat,train\n", True), ("cutout,a.png,,dog,train\n", False)):
        (tmp_path / "pictures.csv").write_text(rows + second)
        found = sources(tmp_path, format="csv", path="pictures.csv")
        if fine:
            assert len(list_pictures(found)) == 1
        else:
            with pytest.raises(ValueError, match="a.png is named twice, and not as the same thing"):
                list_pictures(found)


def test_coco_leaves_out_pictures_in_which_a_class_is_tiny(tmp_path):
    tiny = [{**ANNOTATIONS[0], "area": 23, "segmentation": [[0, 0, 4, 0, 4, 5, 0, 5]]}, ANNOTATIONS[2]]
    assert list_pictures(sources(tmp_path, **write_coco(tmp_path, tiny))) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"annotations": [{**ANNOTATIONS[0], "segmentation": [[1, 2]]}]}, "annotation 1: one of its polygons"),
        (
            {"annotations": [{**ANNOTATIONS[0], "category_id": 77}]},
            "annotation 1 has the category 77, which is not listed",
        ),
        ({"annotations": {"a": 1}}, "has no list of annotations"),
        ({"image": {"height": 10**9}}, "image 7 is 1000000000 x 60 pixels"),
        ({"image": {"file_name": "../7.png"}}, "expected a file below"),
        ({"categories": CATEGORIES[1:]}, "knows no such name|not listed"),
    ],
)
def test_a_broken_coco_file(tmp_path, changes, told):
    with pytest.raises(ValueError, match=told):
        list_pictures(sources(tmp_path, **write_coco(tmp_path, **changes)))


def test_coco_that_is_no_json_or_lacks_pictures(tmp_path):
    entry = write_coco(tmp_path)
    (tmp_path / "train2017" / "7.png").rename(tmp_path / "8.png")
    with pytest.raises(FileNotFoundError, match="1 pictures are not there, the first is .*7.png; unpack them all"):
        list_pictures(sources(tmp_path, **entry))
    (tmp_path / "instances.json").write_text("{")
    with pytest.raises(ValueError, match="line 5: .*instances.json is not JSON"):
        list_pictures(sources(tmp_path, **entry))


def test_annotations_of_another_size_than_the_picture(tmp_path):
    (picture,) = list_pictures(sources(tmp_path, **write_coco(tmp_path)))
    write_picture(tmp_path / "train2017" / "7.png", grey(20, 30))
    with pytest.raises(ValueError, match=r"is \(20, 30\) in size, its annotations are for \(40, 60\)"):
        load_photograph(picture, 1000)


# voc, folder, csv, cutouts, backgrounds
# -------------------------------------------------------------------------------


@pytest.fixture
def voc(tmp_path):
    root = tmp_path / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for name, split, class_name in (("2007_000001", "train", "cat"), ("2007_000002", "val", "sofa")):
        Image.fromarray(grey(30, 40)).save(root / "JPEGImages" / f"{name}.jpg")
        mask = np.zeros((30, 40), np.uint8)
        mask[5:15, 5:15] = VOC_CLASS_NAMES.index(class_name)
        mask[4, 5:15] = 255
        image = Image.fromarray(mask)
        image.putpalette([0] * 768)
        image.save(root / "SegmentationClass" / f"{name}.png")
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(f"{name}\n")


def test_voc(tmp_path, voc):
    found = list_pictures(sources(tmp_path, format="voc", path="VOC2012", map={"dog": "sofa"}))
    assert [(picture.split, picture.classes) for picture in found] == [("train", (1,)), ("validation", (2,))]
    ids = load_photograph(found[1], 1000).ids
    assert (ids[5:15, 5:15] == 2).all() and (ids[4, 5:15] == 255).all() and (ids > 0).sum() == 110
    with pytest.raises(FileNotFoundError, match="holds no train.txt or val.txt"):
        list_pictures(sources(tmp_path, format="voc", path="VOC2012/JPEGImages"))


def test_a_folder_with_masks_beside_its_frames(tmp_path):
    (tmp_path / "mine" / "test" / "clip" / "masks").mkdir(parents=True)
    (tmp_path / "mine" / "classes.txt").write_text("cow\ndog\n")
    mask = np.zeros((20, 30), np.uint8)
    mask[:10] = 2
    for name in ("0", "1"):
        write_picture(tmp_path / "mine" / "test" / "clip" / "frames" / f"{name}.png", grey(20, 30))
    write_picture(tmp_path / "mine" / "test" / "clip" / "masks" / "1.png", mask)
    (picture,) = list_pictures(sources(tmp_path, format="folder", path="mine"))
    assert (picture.classes, picture.split) == ((2,), "test"), "the frame with a mask; the clip's own split"
    assert (load_photograph(picture, 1000).ids[:10] == 2).all()
    (picture,) = list_pictures(sources(tmp_path, format="folder", path="mine", map={"cat": "dog"}))
    assert picture.classes == (1,)
    write_picture(tmp_path / "mine" / "test" / "clip" / "masks" / "1.png", mask[:, :20])
    with pytest.raises(ValueError, match=r"is \(20, 20\) in size, its picture \(30, 20\); make them one size"):
        load_photograph(picture, 1000)


CSV = """kind,file,mask,classes,split
scene,a.png,a-mask.png,dog cow,train
cutout,b.png,,cat,test
background,c.png,,,validation
cutout,d.png,,cow,train
"""


def test_csv(tmp_path):
    mask = np.zeros((20, 30), np.uint8)
    mask[2:8, 2:8], mask[10:15, 10:15], mask[0] = 3, 1, 255
    write_picture(tmp_path / "a.png", grey(20, 30))
    write_picture(tmp_path / "a-mask.png", mask)
    (tmp_path / "ids.txt").write_text("background\ncow\ncat\ndog\n")
    (tmp_path / "pictures.csv").write_text(CSV)
    found = list_pictures(sources(tmp_path, format="csv", path="pictures.csv", ids="ids.txt"))
    assert [(picture.kind, picture.classes, picture.split) for picture in found] == [
        ("scene", (2,), "train"),
        ("cutout", (1,), "test"),
        ("background", (), "validation"),
    ]
    ids = load_photograph(found[0], 1000).ids
    assert (ids[2:8, 2:8] == 2).all() and (ids[10:15, 10:15] == 0).all() and (ids[0] == 255).all()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("file,mask\na.png,b.png\n", "has no column kind; expected kind, file, mask, classes"),
        ("kind,file,mask,classes\nscene,a.png,,cat\n", "pictures.csv, line 2: kind is 'scene', mask ''; expected"),
        ("kind,file,mask,classes\nphoto,a.png,,cat\n", "line 2: kind is 'photo'"),
        ("kind,file,mask,classes\ncutout,a.png,,cat dog\n", "line 2: a cutout of 'cat dog'; expected one class"),
        ("kind,file,mask,classes\ncutout,a.png\n", "line 2: has fewer columns"),
        ("kind,file,mask,classes,split\ncutout,a.png,,cat,trian\n", "line 2: split is 'trian'"),
        ("kind,file,mask,classes\ncutout,../a.png,,cat\n", "expected a file below"),
    ],
)
def test_a_broken_table(tmp_path, text, told):
    (tmp_path / "pictures.csv").write_text(text)
    with pytest.raises(ValueError, match=told):
        list_pictures(sources(tmp_path, format="csv", path="pictures.csv"))


def test_cutouts(tmp_path):
    write_picture(tmp_path / "cut" / "dog" / "1.png", square((1, 2, 3), side=20, margin=5))
    write_picture(tmp_path / "cut" / "cow" / "1.png", square((1, 2, 3)))
    (picture,) = list_pictures(sources(tmp_path, format="cutouts", path="cut", split="train"))
    assert (picture.kind, picture.classes) == ("cutout", (2,))
    whole = load_cut_out(picture, 224)
    assert whole.rgba.shape == (18, 18, 4) and (whole.rgba == (1, 2, 3, 255)).all() and not any(whole.cut)
    assert load_cut_out(picture, 10).rgba.shape == (8, 8, 4), "without the outermost pixels"
    matte = square((1, 2, 3), side=20, margin=5)
    matte[5, 5:25, 3] = 200
    write_picture(tmp_path / "cut" / "dog" / "1.png", matte)
    assert load_cut_out(picture, 224).rgba.shape == (20, 20, 4), "where somebody made a matte nothing goes"
    write_picture(tmp_path / "cut" / "dog" / "1.png", np.zeros((8, 8, 4), np.uint8))
    with pytest.raises(ValueError, match="is transparent all over"):
        load_cut_out(picture, 224)


def test_backgrounds(tmp_path):
    for name in ("a.png", "deep/b.jpg", "notes.txt"):
        (tmp_path / "bg" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "bg" / name).write_bytes(b"")
    found = list_pictures(sources(tmp_path, backgrounds=[{"path": "bg", "split": "test"}]))
    assert [picture.file for picture in found] == [str(tmp_path / "bg" / name) for name in ("a.png", "deep/b.jpg")]
    with pytest.raises(ValueError, match="a.png: cannot be read as a picture"):
        load_photograph(found[0], 100)
    (tmp_path / "none").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no JPEG, PNG or WebP"):
        list_pictures(sources(tmp_path, backgrounds=[{"path": "none"}]))


def test_a_picture_in_two_splits_is_refused(tmp_path):
    write_picture(tmp_path / "cut" / "dog" / "1.png", square((1, 2, 3)))
    values = {
        "classes": ["dog"],
        "pictures": [{"format": "cutouts", "path": "cut", "split": split} for split in ("train", "test")],
    }
    with pytest.raises(ValueError, match="1.png is in train and in test; name it once"):
        list_pictures(read_sources(write_yaml(tmp_path / "sources.yaml", values)))


def test_splits_have_no_file_in_common(tmp_path):
    found = list_pictures(read_sources(write_sources(tmp_path)))
    files = {
        split: {picture.file for picture in found if picture.split == split}
        for split in ("train", "validation", "test")
    }
    assert all(files.values()) and sum(map(len, files.values())) == len(set().union(*files.values()))


def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path):
    Image.new("L", (10000, 6000)).save(tmp_path / "huge.png")
    (picture,) = list_pictures(sources(tmp_path, backgrounds=[{"path": ".", "split": "train"}]))
    with pytest.raises(ValueError, match="has 10000 x 6000 pixels; at most 50000000 are read"):
        load_photograph(picture, 100)


def test_an_object_is_cut_from_its_scene():
    rgb, ids = grey(40, 50), np.zeros((40, 50), np.uint8)
    ids[30:40, 10:30], rgb[30:40, 10:30] = 2, (200, 0, 0)
    ids[0:3, 0:3] = 2  # a smaller piece
    cut = cut_from(Photograph(rgb, ids), 2)
    assert cut.rgba.shape == (9, 18, 4) and (cut.rgba == (200, 0, 0, 255)).all(), "no edge where the picture ends"
    assert cut.cut == (False, False, False, True), "it goes on below the picture"
    assert cut_from(Photograph(rgb, ids), 1) is None


def test_what_an_edge_has_of_its_ground_is_taken_off():
    rgba = np.zeros((9, 9, 4), np.uint8)
    rgba[..., 3] = 255
    for depth, colour in enumerate(((250, 250, 250), (180, 140, 140), (100, 20, 20), (60, 0, 0))):
        rgba[depth : 9 - depth, depth : 9 - depth, :3] = colour
    clean = without_fringe(CutOut(rgba))
    assert clean.rgba.shape == (7, 7, 4) and (clean.rgba[..., 3] == 255).all()
    np.testing.assert_array_equal(clean.rgba[1:-1, 1:-1], rgba[2:-2, 2:-2])
    assert (clean.rgba[0, :, :3] == (100, 20, 20)).all() and (clean.rgba[:, -1, :3] == (100, 20, 20)).all()
    cut_below = without_fringe(CutOut(rgba, (False, False, False, True))).rgba
    assert cut_below.shape == (8, 7, 4) and (cut_below[-1, 1:-1] == rgba[-1, 2:-2]).all(), "no edge of the object"


def test_what_is_too_thin_to_have_an_inside_stays():
    rgba = np.zeros((20, 12, 4), np.uint8)
    rgba[2:12, 1:11] = (90, 60, 30, 255)
    rgba[12:18, 5:7] = (200, 200, 200, 255)
    clean = without_fringe(CutOut(rgba)).rgba
    assert clean.shape == (15, 8, 4), "the square lost its edge, the stem reaches as far down as it did"
    assert (clean[8:][..., 3] >= 128).sum() == 2 * 7 - 2 and (clean[-1, 3:5] == (200, 200, 200, 255)).all()
    rgba = np.full((2, 10, 4), 255, np.uint8)
    np.testing.assert_array_equal(without_fringe(CutOut(rgba)).rgba, rgba)
