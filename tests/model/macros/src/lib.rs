// SPDX-License-Identifier: GPL-2.0

//! A `#[pin_data]` without effect: the models initialise values in place by hand.

use proc_macro::{
    Delimiter,
    Group,
    TokenStream,
    TokenTree, //
};

/// Removes the attribute `#[pin]` from the fields of a struct.
#[proc_macro_attribute]
pub fn pin_data(_arguments: TokenStream, item: TokenStream) -> TokenStream {
    without_pin(item)
}

fn without_pin(tokens: TokenStream) -> TokenStream {
    let mut out: Vec<TokenTree> = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                let inner = without_pin(group.stream());
                out.push(Group::new(Delimiter::Brace, inner).into());
            }
            TokenTree::Group(group)
                if group.delimiter() == Delimiter::Bracket
                    && group.stream().to_string() == "pin" =>
            {
                // Remove the `#` in front of the group as well.
                out.pop();
            }
            token => out.push(token),
        }
    }
    out.into_iter().collect()
}
