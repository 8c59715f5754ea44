//! The classes that have a name.

use super::cost::FRAME;

/// What `\p{name}` costs, or `None` if RE2 knows no such name.
pub(super) fn cost(name: &[u8]) -> Option<u64> {
    let at = GROUPS.binary_search_by_key(&name, |(known, _)| known.as_bytes()).ok()?;
    // Without what every program has, and with a branch for each range.
    Some(2 * (u64::from(GROUPS[at].1) - FRAME))
}

/// What `[:name:]` costs, or `None` if RE2 knows no such name.
pub(super) fn posix(name: &[u8]) -> Option<u64> {
    const NAMES: [&str; 14] = [
        "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
        "upper", "word", "xdigit",
    ];
    // The most any of them takes, negated and in either case.
    NAMES.iter().any(|known| known.as_bytes() == name).then_some(12)
}

/// The names of Unicode 15.1's categories and scripts, in order, with the size of the largest program that Envoy 1.40 makes of one: of the
/// class or its complement, in either case. `every_name_costs_what_envoy_says` in `controller/tests/regexes.rs` measures them.
#[rustfmt::skip]
pub(super) const GROUPS: [(&str, u8); 200] = [
    ("Adlam", 5), ("Ahom", 5), ("Anatolian_Hieroglyphs", 5), ("Any", 5), ("Arabic", 5), ("Armenian", 5),
    ("Avestan", 5), ("Balinese", 5), ("Bamum", 5), ("Bassa_Vah", 5), ("Batak", 5), ("Bengali", 5), ("Bhaiksuki", 5),
    ("Bopomofo", 5), ("Brahmi", 5), ("Braille", 5), ("Buginese", 5), ("Buhid", 5), ("C", 7),
    ("Canadian_Aboriginal", 5), ("Carian", 5), ("Caucasian_Albanian", 5), ("Cc", 6), ("Cf", 6), ("Chakma", 5),
    ("Cham", 5), ("Cherokee", 5), ("Chorasmian", 5), ("Co", 5), ("Common", 11), ("Coptic", 5), ("Cs", 5),
    ("Cuneiform", 5), ("Cypriot", 5), ("Cypro_Minoan", 5), ("Cyrillic", 5), ("Deseret", 5), ("Devanagari", 5),
    ("Dives_Akuru", 5), ("Dogra", 5), ("Duployan", 5), ("Egyptian_Hieroglyphs", 5), ("Elbasan", 5), ("Elymaic", 5),
    ("Ethiopic", 5), ("Georgian", 5), ("Glagolitic", 5), ("Gothic", 5), ("Grantha", 5), ("Greek", 5), ("Gujarati", 5),
    ("Gunjala_Gondi", 5), ("Gurmukhi", 5), ("Han", 5), ("Hangul", 5), ("Hanifi_Rohingya", 5), ("Hanunoo", 5),
    ("Hatran", 5), ("Hebrew", 5), ("Hiragana", 5), ("Imperial_Aramaic", 5), ("Inherited", 5),
    ("Inscriptional_Pahlavi", 5), ("Inscriptional_Parthian", 5), ("Javanese", 5), ("Kaithi", 5), ("Kannada", 5),
    ("Katakana", 5), ("Kawi", 5), ("Kayah_Li", 5), ("Kharoshthi", 5), ("Khitan_Small_Script", 5), ("Khmer", 5),
    ("Khojki", 5), ("Khudawadi", 5), ("L", 12), ("Lao", 5), ("Latin", 11), ("Lepcha", 5), ("Limbu", 5),
    ("Linear_A", 5), ("Linear_B", 5), ("Lisu", 5), ("Ll", 9), ("Lm", 5), ("Lo", 7), ("Lt", 5), ("Lu", 9),
    ("Lycian", 5), ("Lydian", 5), ("M", 5), ("Mahajani", 5), ("Makasar", 5), ("Malayalam", 5), ("Mandaic", 5),
    ("Manichaean", 5), ("Marchen", 5), ("Masaram_Gondi", 5), ("Mc", 5), ("Me", 5), ("Medefaidrin", 5),
    ("Meetei_Mayek", 5), ("Mende_Kikakui", 5), ("Meroitic_Cursive", 5), ("Meroitic_Hieroglyphs", 5), ("Miao", 5),
    ("Mn", 5), ("Modi", 5), ("Mongolian", 5), ("Mro", 5), ("Multani", 5), ("Myanmar", 5), ("N", 9), ("Nabataean", 5),
    ("Nag_Mundari", 5), ("Nandinagari", 5), ("Nd", 6), ("New_Tai_Lue", 5), ("Newa", 5), ("Nko", 5), ("Nl", 5),
    ("No", 8), ("Nushu", 5), ("Nyiakeng_Puachue_Hmong", 5), ("Ogham", 5), ("Ol_Chiki", 5), ("Old_Hungarian", 5),
    ("Old_Italic", 5), ("Old_North_Arabian", 5), ("Old_Permic", 5), ("Old_Persian", 5), ("Old_Sogdian", 5),
    ("Old_South_Arabian", 5), ("Old_Turkic", 5), ("Old_Uyghur", 5), ("Oriya", 5), ("Osage", 5), ("Osmanya", 5),
    ("P", 19), ("Pahawh_Hmong", 5), ("Palmyrene", 5), ("Pau_Cin_Hau", 5), ("Pc", 6), ("Pd", 6), ("Pe", 8), ("Pf", 6),
    ("Phags_Pa", 5), ("Phoenician", 5), ("Pi", 6), ("Po", 17), ("Ps", 8), ("Psalter_Pahlavi", 5), ("Rejang", 5),
    ("Runic", 5), ("S", 20), ("Samaritan", 5), ("Saurashtra", 5), ("Sc", 7), ("Sharada", 5), ("Shavian", 5),
    ("Siddham", 5), ("SignWriting", 5), ("Sinhala", 5), ("Sk", 11), ("Sm", 13), ("So", 9), ("Sogdian", 5),
    ("Sora_Sompeng", 5), ("Soyombo", 5), ("Sundanese", 5), ("Syloti_Nagri", 5), ("Syriac", 5), ("Tagalog", 5),
    ("Tagbanwa", 5), ("Tai_Le", 5), ("Tai_Tham", 5), ("Tai_Viet", 5), ("Takri", 5), ("Tamil", 5), ("Tangsa", 5),
    ("Tangut", 5), ("Telugu", 5), ("Thaana", 5), ("Thai", 5), ("Tibetan", 5), ("Tifinagh", 5), ("Tirhuta", 5),
    ("Toto", 5), ("Ugaritic", 5), ("Vai", 5), ("Vithkuqi", 5), ("Wancho", 5), ("Warang_Citi", 5), ("Yezidi", 5),
    ("Yi", 5), ("Z", 7), ("Zanabazar_Square", 5), ("Zl", 5), ("Zp", 5), ("Zs", 7),
];
