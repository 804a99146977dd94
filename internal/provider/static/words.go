package static

import (
	"errors"
	"strings"
)

var errQuote = errors.New("a quote is not closed")

// splitKeyword takes the keyword, in lower case, off a line of ssh_config.
// Between it and its value stand blanks or one equals sign. Comments and empty
// lines have no keyword.
func splitKeyword(line string) (key, rest string) {
	line = strings.Trim(line, " \t\r\n\f")
	if line == "" || line[0] == '#' {
		return "", ""
	}
	end := strings.IndexAny(line, " \t=")
	if end < 0 {
		return strings.ToLower(line), ""
	}
	key, rest = line[:end], strings.TrimLeft(line[end:], " \t")
	if after, ok := strings.CutPrefix(rest, "="); ok {
		rest = strings.TrimLeft(after, " \t")
	}
	return strings.ToLower(key), rest
}

// splitWords splits a value at blanks. Double or single quotes keep blanks, a
// backslash keeps a quote or itself, and a word that begins with # ends the line.
func splitWords(s string) ([]string, error) {
	var words []string
	for i := 0; i < len(s); {
		switch s[i] {
		case ' ', '\t':
			i++
			continue
		case '#':
			return words, nil
		}
		var b strings.Builder
		var quote byte
	word:
		for ; i < len(s); i++ {
			c := s[i]
			switch {
			case c == '\\' && i+1 < len(s) && escapes(s[i+1], quote):
				i++
				b.WriteByte(s[i])
			case quote == 0 && (c == ' ' || c == '\t'):
				break word
			case quote == 0 && (c == '"' || c == '\''):
				quote = c
			case quote != 0 && c == quote:
				quote = 0
			default:
				b.WriteByte(c)
			}
		}
		if quote != 0 {
			return nil, errQuote
		}
		words = append(words, b.String())
	}
	return words, nil
}

// escapes tells whether a backslash before c stands for c alone.
func escapes(c, quote byte) bool {
	return c == '"' || c == '\'' || c == '\\' || (quote == 0 && c == ' ')
}
