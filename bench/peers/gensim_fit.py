"""gensim's word2vec on lines of luban's tokens, by LineSentence, as its tutorial has it. Run by bench/text.py in the peer's venv.

python gensim_fit.py FOLDER EPOCHS SEED WORKERS OUT.npz
"""

import sys

import numpy as np
import spawned
from gensim.models import Word2Vec
from gensim.models.word2vec import LineSentence

folder, epochs, seed, workers, out = sys.argv[1:]
settings = dict(vector_size=100, window=5, negative=5, min_count=5, sg=1, sample=1e-3, alpha=0.025)
model = Word2Vec(LineSentence(f"{folder}/train.txt"), epochs=int(epochs), seed=int(seed), workers=int(workers), **settings)
np.savez(out, ids=np.array(model.wv.index_to_key, dtype=np.int64), vectors=model.wv.vectors, outer=model.syn1neg)
spawned.tell(words=len(model.wv.index_to_key))
