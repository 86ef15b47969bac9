"""The fixed words of a report, in English and Chinese: one dictionary from the English, which is what stands where there is none."""

from __future__ import annotations

import os
import re
import statistics
from collections.abc import Callable, Mapping
from typing import Any

NUMBER = r"\d[\d,]*(?:\.\d+)?|(?<=size )[a-z]+|(?<=\d )[a-z]+(?= tokens$)"
"""And what else is our own word in a sentence that is the same but for it: a size, a tokenizer."""

Words = Callable[[str], str]
"""English to the language of the page."""

CHINESE = {
    "Blue: without it the answer would be less sure; red: surer.": "蓝色：去掉它，答案会更没把握；红色：会更有把握。",
    # the page
    "What was asked": "任务", "task": "任务", "target": "目标列", "data": "数据", "split": "划分", "rows": "行数", "model": "模型",
    "parameters": "参数量", "time of the whole run": "整个运行的用时", "seconds": "秒", "scored": "评分对象",
    "How good it is": "效果", "metric": "指标", "↑: the higher the better; ↓: the lower the better.": "↑ 越高越好，↓ 越低越好。",
    "Doubts about the data": "对数据的疑点", "Columns": "各列", "column": "列", "field": "类型", "facts": "情况", "notes": "说明",
    "Learning curves": "学习曲线", "step": "步", "training loss": "训练损失", "on validation": "（验证集）",
    "Threshold and costs": "阈值与代价", "Where it fails": "薄弱之处", "Cross-validation": "交叉验证", "fold": "折", "mean": "均值",
    "standard deviation": "标准差",
    "How to repeat it": "如何重现", "Why so": "取值的理由", "setting": "设置", "reason": "理由", "Machine": "机器",
    "The whole configuration": "完整配置", "Examples": "样例", "Further figures": "更多数字", "Curves": "曲线",
    "all values of {n} columns, the worst first": "{n} 列的所有取值，最差的在前",
    "test": "测试集", "valid": "验证集", "train": "训练集",
    "value": "取值", "(missing)": "（缺失）",
    "(new)": "（训练中未见）", "(length)": "（长度）",
    "by the column {}": "按列 {}", "by time ({})": "按时间（{}）", "by {}": "按 {}，同一值的行在一起",
    "by a stable hash of the row": "按行内容的稳定哈希", "by the given test rows": "按给定的测试行",
    "by time, the oldest rows train": "按时间，最早的用于训练", "in the order of the rows, the first train": "按行的顺序，最前的用于训练",
    "by time, the oldest rows of each item train": "按时间，每个序列最早的用于训练",
    "in the order of the rows, the first of each item train": "按行的顺序，每个序列最前的用于训练",
    "by user, the last event validates": "按用户，最后一次用于验证",
    "by user, the last event is tested, the one before validates": "按用户，最后一次用于测试，倒数第二次用于验证",
    "by time, the newest events are tested, those before validate": "按时间，最新的用于测试，之前的用于验证",
    "at random, event by event": "逐个随机", "at random, the same share of each user's events": "随机，每个用户同样的比例",
    "at random, the same share of each item's events": "随机，每个物品同样的比例",
    "whole items at random: all events of some are tested, all of others validate, and training has none of either":
        "随机留出整个物品：一些物品的全部行为用于测试，另一些用于验证，训练中都没有",
    "only orders the events": "只用于排列先后", "says which events count": "决定哪些行为算数",
    "says how much an event counts": "表示行为的次数或分量", "task.least could say which count": "可由 task.least 决定哪些算数",
    "neither user nor item": "既非用户也非物品",
    "{} to {}": "{} 至 {}", "from {}": "{} 及以上", "from {} users": "自 {} 个用户起", "some {} events": "约 {} 次行为",
    "three times a usual history, {} to {}": "通常历史长度的三倍，{} 至 {}",
    "each user is told from the items of the others": "每个用户与他人的物品相区分",
    "error over its mean": "误差与其均值之比",
    "by class": "各类", "by events before": "按此前的事件数", "mse by column": "各序列的均方误差", "mse by step": "各步的均方误差",
    "rmse in units": "均方根误差（原单位）",
    "coverage": "区间覆盖率", "p{} to p{}": "p{} 至 p{}", "wanted": "应有",
    "mase by item": "误差最大的序列（MASE）", "support": "样例数", "users": "用户数",
    "(target)": "（目标列）", "some missing": "有缺失", "empty": "全空", "decides the split": "决定划分",
    "left out as asked": "按要求略去", "neither the time nor a series": "既非时间也非序列", "grey": "灰度", "colour": "彩色",
    "looks like an id: a different whole number in each row": "像是编号：每行一个不同的整数",
    "looks like an id: a different code in each row": "像是编号：每行一个不同的代码",
    # metrics, see of_metric
    "accuracy": "准确率", "balanced_accuracy": "平衡准确率", "subset_accuracy": "全部标签都对的比例",
    "precision": "精确率", "recall": "召回率", "precision_macro": "精确率（宏平均）", "recall_macro": "召回率（宏平均）",
    "f1": "F1", "f1_macro": "F1（宏平均）", "f1_micro": "F1（微平均）", "f1_weighted": "F1（按类加权）", "f1_samples": "F1（按样例平均）",
    "roc_auc": "ROC 曲线下面积", "pr_auc": "PR 曲线下面积",
    "mcc": "马修斯相关系数", "log_loss": "对数损失", "brier": "Brier 分数", "ece": "期望校准误差", "hamming_loss": "汉明损失",
    "mse": "均方误差", "rmse": "均方根误差", "mae": "平均绝对误差", "median_ae": "绝对误差的中位数", "mape": "平均绝对百分比误差",
    "mase": "平均绝对缩放误差", "smape": "对称平均绝对百分比误差", "wql": "加权分位数损失",
    "r2": "决定系数 R²", "mean_skill": "平均技巧得分", "ndcg": "nDCG", "hit_rate": "命中率", "mrr": "平均倒数排名",
    "map": "平均精确率均值", "item_coverage": "物品覆盖率", "diversity": "多样性", "novelty": "新颖度", "popularity": "流行度",
    "loss": "损失", "bits": "比特", "perplexity": "困惑度", "spearman": "斯皮尔曼相关系数", "pearson": "皮尔逊相关系数",
    "pair_loss": "词对损失", "half_mrr": "前后半句的平均倒数排名", " of {}": "（{}）", " (z-scored)": "（标准化后）",
    " (scaled by window)": "（按窗口标准化）",
    # facts of a column, and reasons of the plan; {} is a number, or a size
    "{} values": "{} 个取值", "{} items": "{} 个序列", "{} tokens": "{} 个词元", "{} characters": "{} 个字符", "{} tags": "{} 个标签",
    "{} kinds of entities": "{} 类实体",
    "{} {} tokens": "{} 个 {} 词元", "{} a row": "每行 {} 个", "at most {}": "最多 {} 个",
    "{}% of the rows are cut there": "{}% 的行在此截断", "{}% unknown": "{}% 未知", "not the words": "不是要读的文字",
    "about {} steps an epoch or more, from {} rows": "{} 步左右或更多为一轮，训练数据有 {} 行",
    "about {} steps, between {} and {} epochs": "约 {} 步，{} 到 {} 轮之间",
    "few steps an epoch, and a small network": "每轮步数少，网络也小", "the usual for AdamW at this width": "这一宽度下 AdamW 的常用值",
    "the usual for Adam and convolutions": "Adam 与卷积的常用值", "all training rows": "全部训练行",
    "what about {} minutes on {} cores allow": "约 {} 分钟、{} 个核所能完成的", "the schedule ends by itself": "学习率计划自行结束",
    "the encoded rows are larger than half of the memory": "编码后的行超过内存的一半",
    "large products, and the machine has fast bf16": "矩阵乘法大，且机器的 bf16 快",
    "small products, or no fast bf16 here": "矩阵乘法小，或机器没有快的 bf16",
    "squared errors have an exact solution": "平方误差有精确解", "absolute errors have none": "绝对误差没有精确解",
    "gaps leave too few windows whole for the exact solution": "缺失太多，完整的窗口不足以求精确解", "some {} windows": "约 {} 个窗口",
    "products of so narrow a network are three times as slow in bf16": "网络这么窄，用 bf16 要花三倍时间",
    "size {}": "规模 {}", "by size {}": "按规模 {}", "by size {} and {} rows": "按规模 {} 与 {} 行", "some {} for each row": "每行约 {} 个",
    "high, as the cosine ends at {}; lower ones need twice the steps": "偏高，因为余弦降到 {}；更低则需两倍的步数",
    "the mean of about {} steps": "约 {} 步的平均", "some five million words": "约五百万个词",
    "low, so that what was learned before is not lost": "偏低，以免丢掉先前学到的", "BERT's": "BERT 的取值",
    # comparisons
    "Metrics, by {metric}": "指标，以 {metric} 为主", "Time and size": "时间与大小", "Settings that differ": "不同的设置", "none": "无",
    "whole run, seconds": "整个运行，秒", "size on disk": "磁盘大小", "epoch": "轮", "loss in training": "训练损失",
    "in brackets the 95 % interval of the difference from {name} on the same {n} test rows (paired bootstrap); "
    "* where it leaves out 0":
        "方括号中是在相同的 {n} 个测试行上与 {name} 之差的 95% 区间（配对自助法）；* 表示区间不含 0",
    "{name} is better than {first}: {how}.": "{name} 优于 {first}：{how}。",
    "{name} is worse than {first}: {how}.": "{name} 不如 {first}：{how}。",
    "{name} and {first} cannot be told apart: {how}.": "{name} 与 {first} 分不出高下：{how}。",
    # charts
    "ROC curve": "ROC 曲线", "false positive rate": "假正率", "true positive rate": "真正率", "Precision and recall": "精确率与召回率",
    "Calibration": "校准", "probability of the answer": "答案的概率",
    "probability of the second class": "正类的概率", "probability of a label": "标签的概率", "share that came true": "实际发生的比例",
    "Predicted and true": "预测与真值", "true": "真值", "predicted": "预测值", "Residuals": "残差", "predicted minus true": "预测减真值",
    "How residuals are spread": "残差的分布", "Error by step": "各步的误差", "mean squared error, z-scored": "均方误差（标准化后）",
    "A usual forecast": "一个典型的预测", "The worst forecast": "最差的预测",
    "Of {item}.": "属于 {item}。",
    "mean squared error, scaled by window": "均方误差（按窗口标准化）", "before": "之前", "forecast": "预测",
    "Hit rate by the length of the list": "命中率与列表长度", "had": "训练中的行为", "shown": "推荐的物品",
    "What was had in training, and what is shown, by the most popular items": "训练中的行为与推荐的物品，由最流行的物品累计",
    "share of the items": "物品占比", "share of the events": "行为占比",
    "items in the list": "列表中的物品数", "hit rate": "命中率", "Loss by what was seen": "损失与已见长度",
    "tokens seen before": "之前见到的词元数", "nats a token": "每个词元的纳特数",
    "Confusion: rows are the truth, columns the answer": "混淆矩阵：行为真值，列为答案",
    "Most wrong": "错得最厉害的", "Most doubtful": "最没把握的",
    "truth": "真值", "answer": "答案", "prediction": "预测", "confidence": "把握度", "least sure tag": "最没把握的标签",
    "label": "标签", "share": "比例",
    "entities": "实体数", "wrong tags": "标错的比例", "wrong answers": "答错的比例", "log loss": "对数损失", "absolute error": "绝对误差",
    # sentences
    "In brackets, and drawn as bars: where 95 % of the values of {n} resamples of {m} examples lie (bootstrap percentiles).":
        "括号中（图中为横线）是对 {m} 个样例重抽 {n} 次后 95% 的值所在的区间（自助法百分位）。",
    "Where none stands, there are too few errors to tell, or to sort each of many classes would take minutes.":
        "没有区间的指标：错误太少、无从判断，或类别太多、逐类排序要花几分钟。",
    "Neighbouring examples overlap, so that runs of {b} are drawn together.": "相邻样例互相重叠，因此每 {b} 个一组抽取。",
    "Rows of one group are drawn together.": "同组的行一起抽取。", "Of a sample of {n} rows.": "取自 {n} 行的抽样。",
    "There are too few independent examples here to say how sure these figures are.": "互相独立的样例太少，无法给出这些数字的区间。",
    "finding": "发现", "certainty": "把握", "remedy": "处理办法", "serious": "严重", "doubt": "存疑", "note": "说明",
    "{n} rows have no target and were left out.": "{n} 行没有目标值，未使用。",
    "{n} rows were left out, or are counted with others.": "{n} 行未使用，或并入了其他行。",
    "{n} rows could not be read and were left out.": "{n} 行无法读取，未使用。",
    "Nothing was found that should be mended.": "没有需要处理的问题。",
    "{tested} values of {of} columns were each compared with all other rows by {what}. Listed are those on which the model is worse "
    "beyond chance (Welch's t-test, with Holm's correction for so many comparisons), the surest first.":
        "对 {of} 列的 {tested} 个取值逐一与其余行比较{what}。列出的是并非偶然更差的（Welch t 检验，经 Holm 多重比较校正），最确定的在前。",
    "None is truly worse than the rest.": "没有明显更差的取值。",
    "The run is repeated by": "重新运行：",
    "The data were handed over from Python, so the call has to be repeated with them.": "数据由 Python 直接传入，需用同样的数据再次调用。",
    "A row is called {positive} where its probability reaches the threshold. Here a false {positive} costs {fp}, a missed one {fn}; "
    "where they cost something else, train with --set report.costs=[1,5].":
        "概率达到阈值的行判为 {positive}。此处误判为 {positive} 的代价是 {fp}，漏判的代价是 {fn}；"
        "代价不同时，用 --set report.costs=[1,5] 训练。",
    "cost of a false {positive}": "误判为 {positive} 的代价", "cost of a missed {positive}": "漏判 {positive} 的代价",
    "threshold": "阈值", "cost": "代价", "false {positive}": "误判为 {positive}", "missed {positive}": "漏判 {positive}",
    "right {positive}": "正确判为 {positive}", "right {negative}": "正确判为 {negative}", "cost a row": "每行代价",
    "the cheapest here": "此处最省", "the usual one": "通常的", "by theory, where probabilities are right": "概率准确时的理论值",
    "everything {negative}": "全判为 {negative}", "everything {positive}": "全判为 {positive}",
    "The cheapest threshold was found on these very rows, so that new rows will cost a little more. "
    "It is applied to the column p_{positive} of the predictions.":
        "最省的阈值是在这些行上选出的，新数据的代价会略高。它用于预测结果的 p_{positive} 列。",
    "The others were judged on {n} of them.": "其余模型只在其中 {n} 个上评估。",
    "bars: how many rows": "柱：行数", "and {n} more": "另有 {n} 个",
    "Drawn are the {n} most frequent of {of}.": "只画出 {of} 个中最常见的 {n} 个。",
    "Drawn are the first {n} of {of} series.": "只画出 {of} 个序列中的前 {n} 个。",
    "Drawn are {n} of {of} rows, by chance.": "从 {of} 行中随机画出 {n} 行。",
    "{n} of {of} bars have fewer than {few} rows, and no point.": "{of} 个柱中有 {n} 个不足 {few} 行，没有画点。",
    "The {n} rows below the 1st and above the 99th percentile are not drawn.": "低于第 1、高于第 99 百分位的 {n} 行没有画出。",
}  # fmt: skip


def language_of(asked: str) -> str:
    """en or zh: as asked, or what the environment speaks."""
    if asked != "auto":
        return asked
    spoken = next((os.environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(name)), "")
    return "zh" if spoken.lower().startswith("zh") else "en"


def speaker(language: str) -> Words:
    return _chinese if language == "zh" else (lambda english: english)


def _chinese(english: str) -> str:
    """What stands in the dictionary, or does with {} for each number; else the English."""
    if english in CHINESE:
        return CHINESE[english]
    pattern = CHINESE.get(re.sub(NUMBER, "{}", english))
    return pattern.format(*re.findall(NUMBER, english)) if pattern else english


def of_metric(called: str, t: Words) -> str:
    """A metric as a task calls it, "price.rmse", "precision of 'yes'", "ndcg@10", with its name in the language of the page."""
    found = re.fullmatch(r"(.*\.)?(\w+)(@\d+)?(?: of (.*)|( \((?:z-scored|scaled by window)\)))?", called)
    if found is None:
        return called
    column, name, at, whom, how = found.groups(default="")
    return column + t(name) + at + (t(" of {}").format(whom) if whom else t(how))


def verdict(facts: Mapping[str, Any], language: str) -> str:
    """In words: was the model worth it? facts: stages.evaluate.verdict's, with how many `examples` of which `noun` and `part`."""
    metric, model, zh = of_metric(facts.get("called", facts["metric"]), speaker(language)), facts["model"], language == "zh"
    n = f"{facts['examples']:,}"
    part = "test" if facts["part"] == "test" else "validation"
    if (every := facts.get("of", facts["examples"])) > facts["examples"]:
        n = f"{every:,} 个中的 {n}" if zh else f"{n} of the {every:,}"
    rows = f"{n} 个{'测试' if part == 'test' else '验证'}样例" if zh else f"{n} {part} {facts['noun']}"
    if facts["outcome"] == "none":
        series = facts["noun"] == "windows"
        if zh:
            why = "数值从不变化" if series else "缺少某一类"
            return f"{metric} 在{rows}上没有值（{why}，或有答案不是有限数）：无从知道 {model} 有多好。"
        why = "never change" if series else "lack a class"
        return f"{metric} has no value on the {rows} (they {why}, or an answer is not finite): nothing says how good {model} is."
    value, silent = f"{facts['value']:.4f}", ", ".join(facts["silent"])
    if zh:
        left_out = f" 未比较（没有 {metric}）：{silent}。" if silent else ""
    else:
        left_out = f" Left out, without a {metric} here: {silent}." if silent else ""
    if facts["outcome"] == "alone":
        if zh:
            return f"{model} 的 {metric} 为 {value}；没有可比的基线，无从知道这是好是坏。{left_out}"
        none = "no baseline could be judged" if silent else "nothing stands beside it"
        return f"{model} reaches {metric} {value}; {none}, so nothing says whether that is good.{left_out}"
    return (
        _compared(facts, zh, (value, f"{facts['theirs']:.4f}", rows))
        + left_out
        + (_bought(facts["bought"], zh) if facts.get("bought") else "")
    )


def _bought(of: Mapping[str, Any], zh: bool) -> str:
    """What rows without an answer, or another run, added. of: stages.train's."""
    (value, plain), what = of["values"], of["what"]
    if zh:
        what = what.replace("rows without an answer", "没有标签的行").replace("the run", "运行")
        kept = "保留前者" if of["kept"] else "在验证集上没有收益，因此不保留"
        return f" {what}带来的：{of['with']} {value:.4f}，不用它时 {of['without']} {plain:.4f}；{kept}。"
    between = f" (paired difference {of['interval'][0]:+.4f} to {of['interval'][1]:+.4f}, 95 %)" if of["interval"] and of["kept"] else ""
    end = f"{between}." if of["kept"] else "; on validation it bought nothing, so it is not kept."
    return f" What {what} bought: {of['with']} reaches {value:.4f}, without it {of['without']} {plain:.4f}{end}"


def folds(of: Mapping[str, Any], metric: str, language: str) -> str:
    """In words: how far a metric spreads over the folds. of: stages.folds.judge_folds's."""
    k, model, done, values = of["k"], of["model"], len(of["done"]), of["metrics"].get(metric)
    zh, metric = language == "zh", of_metric(metric, speaker(language))
    if not done:
        return (
            f"{k} 折中没有一折训练成功：没有交叉验证的数字。"
            if zh
            else f"not one of the {k} folds could be trained: there are no figures of folds."
        )
    which = f"{k}" if done == k else f"{k} 折中的 {done}" if zh else f"{done} of {k}"
    if values is None:
        return f"{model} 的 {metric} 在 {which} 折上没有值。" if zh else f"{which} folds of {model}: {metric} has no value on some of them."
    mean, how = f"{statistics.mean(values):.4f}", f" ± {statistics.stdev(values):.4f}" if done > 1 else ""
    if zh:
        return f"{which} 折交叉验证（{model}）：{metric} {mean}{how}（均值 ± 标准差；每折的模型都未见过所评的行）。"
    return f"{which} folds of {model}: {metric} {mean}{how} (mean ± standard deviation; no model saw the rows it is judged by)"


def _compared(facts: Mapping[str, Any], zh: bool, of: tuple[str, str, str]) -> str:
    (value, theirs, rows), model, best = of, facts["model"], facts["best"]
    metric = of_metric(facts.get("called", facts["metric"]), speaker("zh" if zh else "en"))
    apart = ""
    if facts["difference"]:
        low, high = facts["difference"]
        apart = f"（配对之差的 95% 区间：{low:+.4f} 至 {high:+.4f}）" if zh else f" (paired difference {low:+.4f} to {high:+.4f}, 95 %)"
    elif facts["outcome"] != "level":
        apart = "（没有区间，可能只是偶然）" if zh else " (no interval says how sure that is: it may be chance)"
    if facts["outcome"] == "level" and facts.get("nothing") and facts["noun"] == "users":
        if zh:
            return f"{model} 与 {best} 都一无所获：{rows}上 {metric} 均为 0。它们不认识留出的内容，换一个能认识的模型。"
        return (
            f"{model} and {best} find nothing: {metric} is 0 for both on {rows}. Neither knows what was held back; take a model that can."
        )
    if facts.get("simple") and facts["outcome"] != "worse":
        if zh:
            return f"这里简单的规则就够了：{rows}上 {model} 的 {metric} 为 {value}，其余中最好的（{best}）为 {theirs}{apart}。"
        return f"A simple rule does best here: {model} reaches {metric} {value} on {rows}, the best of the others ({best}) {theirs}{apart}."
    if facts["outcome"] == "level":
        if zh:
            return f"{model} 与 {best} 不相上下：{rows}上 {metric} 为 {value} 和 {theirs}{apart}。用更简单的那个即可。"
        return f"{model} and {best} are level: {metric} {value} and {theirs} on {rows}{apart}. The simpler one would do."
    if facts["outcome"] == "better":
        if zh:
            return f"{model} 物有所值：{rows}上 {metric} 为 {value}，最好的基线（{best}）为 {theirs}{apart}。"
        return f"{model} was worth it: {metric} {value} on {rows}, against {theirs} of the best baseline ({best}){apart}."
    if zh:
        return f"{model} 在这里并不值得：{rows}上 {metric} 为 {value}，而 {best} 达到 {theirs}{apart}。改用它：--model {best}。"
    return (
        f"{model} was not worth it here: {metric} {value} on {rows}, while {best} reaches {theirs}{apart}. To train that: --model {best}."
    )
