"""Nodes that turn pictures into pictures; Pillow does the work."""

from __future__ import annotations

from PIL import Image, ImageChops, ImageFilter, ImageOps

from orchestrator.simulator.comfyui.nodes.registry import node
from orchestrator.simulator.comfyui.run import Run
from orchestrator.simulator.comfyui.values import Images, Masks

RESAMPLING = {
    "nearest-exact": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "area": Image.Resampling.BOX,
    "bicubic": Image.Resampling.BICUBIC,
    "bislerp": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
ROTATIONS = {
    "none": None,
    "90 degrees": Image.Transpose.ROTATE_270,  # ComfyUI turns clockwise, Pillow the other way
    "180 degrees": Image.Transpose.ROTATE_180,
    "270 degrees": Image.Transpose.ROTATE_90,
}


def resize(picture: Image.Image, size: tuple[int, int], method: str, crop: str = "disabled") -> Image.Image:
    """As ComfyUI's common_upscale; `crop` is disabled or center."""
    if crop == "center":
        return ImageOps.fit(picture, size, RESAMPLING[method])
    return picture if picture.size == size else picture.resize(size, RESAMPLING[method])


@node("EmptyImage")
def empty_image(run: Run, width: int, height: int, batch_size: int = 1, color: int = 0) -> tuple[Images]:
    colour = (color >> 16 & 0xFF, color >> 8 & 0xFF, color & 0xFF)
    return ((Image.new("RGB", (width, height), colour),) * batch_size,)


@node("ImageScale")
def image_scale(run: Run, image: Images, upscale_method: str, width: int, height: int, crop: str) -> tuple[Images]:
    if not width and not height:
        return (image,)
    old_width, old_height = image[0].size
    size = (
        width or max(1, round(old_width * height / old_height)),
        height or max(1, round(old_height * width / old_width)),
    )
    return (tuple(resize(picture, size, upscale_method, crop) for picture in image),)


@node("ImageScaleBy")
def image_scale_by(run: Run, image: Images, upscale_method: str, scale_by: float) -> tuple[Images]:
    width, height = image[0].size
    size = round(width * scale_by), round(height * scale_by)
    return (tuple(resize(picture, size, upscale_method) for picture in image),)


@node("ImageScaleToTotalPixels")
def image_scale_to_total_pixels(
    run: Run, image: Images, upscale_method: str, megapixels: float, resolution_steps: int = 1
) -> tuple[Images]:
    width, height = image[0].size
    scale = (megapixels * 1024 * 1024 / (width * height)) ** 0.5 / resolution_steps
    size = round(width * scale) * resolution_steps, round(height * scale) * resolution_steps
    return (tuple(resize(picture, size, upscale_method) for picture in image),)


@node("ImageInvert")
def image_invert(run: Run, image: Images) -> tuple[Images]:
    return (tuple(ImageChops.invert(picture) for picture in image),)


@node("ImageBatch")
def image_batch(run: Run, image1: Images, image2: Images) -> tuple[Images]:
    size, mode = image1[0].size, "RGBA" if "RGBA" in (image1[0].mode, image2[0].mode) else "RGB"
    fitted = tuple(resize(picture, size, "bilinear", "center") for picture in image2)
    return (tuple(picture.convert(mode) for picture in image1 + fitted),)


@node("ImageCrop")
def image_crop(run: Run, image: Images, width: int, height: int, x: int, y: int) -> tuple[Images]:
    old_width, old_height = image[0].size
    x, y = min(x, old_width - 1), min(y, old_height - 1)
    box = x, y, min(x + width, old_width), min(y + height, old_height)
    return (tuple(picture.crop(box) for picture in image),)


@node("ImageBlend")
def image_blend(run: Run, image1: Images, image2: Images, blend_factor: float, blend_mode: str) -> tuple[Images]:
    return (
        tuple(
            _blend(
                first.convert("RGB"),
                resize(image2[index % len(image2)], first.size, "bicubic", "center"),
                blend_factor,
                blend_mode,
            )
            for index, first in enumerate(image1)
        ),
    )


def _blend(first: Image.Image, second: Image.Image, factor: float, mode: str) -> Image.Image:
    second = second.convert("RGB")
    blended = {
        "normal": lambda: second,
        "multiply": lambda: ImageChops.multiply(first, second),
        "screen": lambda: ImageChops.screen(first, second),
        "overlay": lambda: ImageChops.overlay(first, second),
        "soft_light": lambda: ImageChops.soft_light(first, second),
        "difference": lambda: ImageChops.subtract(first, second),
    }[mode]()
    return Image.blend(first, blended, factor)


@node("ImageBlur")
def image_blur(run: Run, image: Images, blur_radius: int, sigma: float) -> tuple[Images]:
    if not blur_radius:
        return (image,)
    return (tuple(picture.filter(ImageFilter.GaussianBlur(min(sigma, blur_radius))) for picture in image),)


@node("ImageSharpen")
def image_sharpen(run: Run, image: Images, sharpen_radius: int, sigma: float, alpha: float) -> tuple[Images]:
    mask = ImageFilter.UnsharpMask(radius=min(sigma, sharpen_radius), percent=round(alpha * 100), threshold=0)
    return (tuple(picture.filter(mask) for picture in image),)


@node("ImageFlip")
def image_flip(run: Run, image: Images, flip_method: str) -> tuple[Images]:
    flip = ImageOps.flip if flip_method.startswith("x") else ImageOps.mirror
    return (tuple(flip(picture) for picture in image),)


@node("ImageRotate")
def image_rotate(run: Run, image: Images, rotation: str) -> tuple[Images]:
    turn = ROTATIONS[rotation]
    return (image if turn is None else tuple(picture.transpose(turn) for picture in image),)


@node("ImageFromBatch")
def image_from_batch(run: Run, image: Images, batch_index: int, length: int) -> tuple[Images]:
    start = min(batch_index if batch_index >= 0 else max(len(image) + batch_index, 0), len(image) - 1)
    return (image[start : start + length],)


@node("RepeatImageBatch")
def repeat_image_batch(run: Run, image: Images, amount: int) -> tuple[Images]:
    return (image * amount,)


@node("ImagePadForOutpaint")
def image_pad_for_outpaint(
    run: Run, image: Images, left: int, top: int, right: int, bottom: int, feathering: int
) -> tuple[Images, Masks]:
    width, height = image[0].size
    size = width + left + right, height + top + bottom
    padded = []
    for picture in image:
        canvas = Image.new("RGB", size, (127, 127, 127))
        canvas.paste(picture.convert("RGB"), (left, top))
        padded.append(canvas)
    mask = Image.new("L", size, 255)
    mask.paste(0, (left, top, left + width, top + height))
    if feathering:
        mask = ImageChops.lighter(mask, mask.filter(ImageFilter.BoxBlur(min(feathering, *size) / 2)))
    return tuple(padded), (mask,)


@node("ImageCompositeMasked")
def image_composite_masked(
    run: Run, destination: Images, source: Images, x: int, y: int, resize_source: bool, mask: Masks | None = None
) -> tuple[Images]:
    composed = []
    for index, below in enumerate(destination):
        above = source[index % len(source)]
        if resize_source:
            above = resize(above, below.size, "bilinear")
        through = mask[index % len(mask)].resize(above.size) if mask else None
        below = below.copy()
        below.paste(above.convert(below.mode), (x, y), through)
        composed.append(below)
    return (tuple(composed),)


@node("Canny")
def canny(run: Run, image: Images, low_threshold: float, high_threshold: float) -> tuple[Images]:
    """Edges by a 3 x 3 kernel and one threshold: enough to be a control picture."""
    edges = (picture.convert("L").filter(ImageFilter.FIND_EDGES) for picture in image)
    threshold = [255 if value > low_threshold * 128 else 0 for value in range(256)]
    return (tuple(edge.point(threshold).convert("RGB") for edge in edges),)
