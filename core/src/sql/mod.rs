//! What a query string does, as far as routing must know: our own lexer and shallow classifier.
