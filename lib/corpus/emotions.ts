// What corpora and models of many languages call the same emotions. The table is published in docs/models.md.

/** Emotions by one name each, and what else they are called: in other forms of the word, abbreviated, in other languages. */
export const emotionNames: Readonly<Record<string, readonly string[]>> = {
  angry: [
    ...[
      'anger',
      'ang',
      'rage',
      'furious',
      'mad',
      'hot anger',
      'cold anger',
      'wut',
      'wütend',
      'ärger',
      'ärgerlich',
      'zorn',
    ],
    ...['colère', 'en colère', 'enojo', 'enojado', 'enfado', 'ira', 'rabia', 'rabbia', 'raiva', 'öfke', 'kızgın'],
    ...['злость', 'гнев', 'злой', '生气', '愤怒', '怒', '憤怒', '怒り', '분노', '화남', 'خشم', 'غضب'],
  ],
  bored: [
    'boredom',
    'bor',
    'langeweile',
    'gelangweilt',
    'ennui',
    'aburrimiento',
    'noia',
    'скука',
    '无聊',
    '無聊',
    '退屈',
    '지루함',
  ],
  calm: ['calmness', 'cal', 'relaxed', 'ruhig', 'calme', 'calma', 'спокойствие', '平静', '平靜', '穏やか', '차분함'],
  contempt: [
    'con',
    'contemptuous',
    'verachtung',
    'mépris',
    'desprecio',
    'disprezzo',
    'презрение',
    '轻蔑',
    '蔑视',
    '輕蔑',
    '軽蔑',
    '경멸',
  ],
  disgust: [
    ...['dis', 'disgusted', 'ekel', 'angeekelt', 'dégoût', 'asco', 'disgusto', 'nojo', 'iğrenme', 'отвращение'],
    ...['厌恶', '厭惡', '嫌悪', '혐오', 'اشمئزاز'],
  ],
  enthusiastic: ['enthusiasm', 'begeisterung', 'begeistert', 'entusiasmo', 'enthousiasme', 'энтузиазм'],
  excited: [
    'excitement',
    'exc',
    'aufregung',
    'aufgeregt',
    'excitation',
    'emoción',
    'возбуждение',
    '兴奋',
    '激动',
    '興奮',
    '흥분',
  ],
  fearful: [
    ...[
      'fear',
      'fea',
      'afraid',
      'scared',
      'anxious',
      'anxiety',
      'angst',
      'ängstlich',
      'peur',
      'miedo',
      'paura',
      'medo',
      'korku',
    ],
    ...['страх', '恐惧', '害怕', '恐懼', '恐れ', '恐怖', '공포', '두려움', 'ترس', 'خوف'],
  ],
  frustrated: ['frustration', 'fru', 'frustriert', 'frustración', 'frustrazione', 'фрустрация', '沮丧', '挫败', '좌절'],
  happy: [
    ...[
      'happiness',
      'hap',
      'joy',
      'joyful',
      'joyfully',
      'amused',
      'amusement',
      'freude',
      'fröhlich',
      'glücklich',
      'glück',
    ],
    ...['joie', 'alegría', 'alegria', 'feliz', 'felicidad', 'gioia', 'felicità', 'felicidade', 'mutlu', 'mutluluk'],
    ...['радость', 'счастье', '开心', '高兴', '快乐', '喜悦', '開心', '高興', '喜び', '기쁨', '행복', 'شادی', 'سعادة'],
  ],
  neutral: [
    ...[
      'neu',
      'neutrality',
      'normal',
      'neutre',
      'neutro',
      'neutrale',
      'nötr',
      'нейтральный',
      'нейтрально',
      'нейтральность',
    ],
    ...['中立', '中性', '平常', 'ニュートラル', '중립', 'خنثی', 'محايد'],
  ],
  other: ['oth', 'others', 'andere', 'sonstige', 'autre', 'otro', 'altro', 'другое', '其他', '其它', 'その他', '기타'],
  sad: [
    ...[
      'sadness',
      'sorrow',
      'trauer',
      'traurig',
      'traurigkeit',
      'tristesse',
      'triste',
      'tristeza',
      'tristezza',
      'üzgün',
      'üzüntü',
    ],
    ...['грусть', 'печаль', '难过', '悲伤', '伤心', '難過', '悲傷', '悲しみ', '슬픔', 'غم', 'حزن'],
  ],
  surprised: [
    ...[
      'surprise',
      'sur',
      'pleasant surprise',
      'pleasantly surprised',
      'überraschung',
      'überrascht',
      'sorpresa',
      'surpresa',
    ],
    ...['şaşkınlık', 'удивление', '吃惊', '惊讶', '驚訝', '驚き', '놀람', 'تعجب', 'مفاجأة'],
  ],
};

const byName = new Map(
  Object.entries(emotionNames).flatMap(([emotion, names]) =>
    [emotion, ...names].map((name) => [folded(name), emotion]),
  ),
);

/** Without regard to case, the width of letters, and what separates words. */
function folded(name: string): string {
  return name
    .normalize('NFKC')
    .toLowerCase()
    .replace(/[\s_-]+/gu, ' ')
    .trim();
}

/**
 * The emotion that a label of any corpus or model stands for, by one name for all: without regard to case, in the forms, abbreviations
 * and languages of {@link emotionNames}. A label in two languages, such as `生气/angry`, is read by its parts.
 *
 * @returns undefined when it is not known, or its parts are of different emotions
 * @example
 * emotionOf('ANG'); // 'angry'
 * emotionOf('开心/happy'); // 'happy'
 */
export function emotionOf(label: string): string | undefined {
  const whole = byName.get(folded(label));
  if (whole !== undefined) return whole;
  const parts = new Set(label.split(/[/|()（）]/u).flatMap((part) => byName.get(folded(part)) ?? []));
  return parts.size === 1 ? [...parts][0] : undefined;
}

const dimensions = new Map([
  ['activation', 'arousal'],
  ['pleasure', 'valence'],
  ['pleasantness', 'valence'],
  ['power', 'dominance'],
  ['control', 'dominance'],
]);

/**
 * A dimension by one name for all: `activation` is `arousal`, `pleasure` is `valence`, `power` is `dominance`.
 *
 * @example
 * dimensionOf('Activation'); // 'arousal'
 */
export function dimensionOf(name: string): string {
  return dimensions.get(folded(name)) ?? folded(name);
}
