"""Fashion-MNIST: 70,000 articles of clothing in the form of MNIST, four official files."""

from chainrule.dataset import Dataset
from chainrule.datasets.mnist import official, read

MIRRORS = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
)
HASHES = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}

dataset = Dataset(
    title="Fashion-MNIST",
    task="classification",
    description=(
        "The same form as MNIST and harder: a difference between two networks that MNIST hides at 98 % shows here "
        "at 89 %."
    ),
    licence="MIT, © 2017 Zalando SE",
    citation="Xiao, Rasul & Vollgraf (2017), Fashion-MNIST, arXiv:1708.07747",
    features=tuple(f"pixel {i},{j}" for i in range(28) for j in range(28)),
    targets=("article",),
    classes=(
        "T-shirt/top",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    ),
    read=read,
    sources=official(HASHES, MIRRORS),
    scaling="global",
    shape=(28, 28),
    split=(55 / 70, 5 / 70, 10 / 70),
    test_rows=10_000,
    folders=("fashion-mnist", "FashionMNIST/raw"),
    stand_in="mnist_5k",
    hidden=(256, 128),
)
